"use strict";
// Play with the network: next characters, sampled names, the embedding, and a game.

/** The settings of the view: those of the address, each within its bounds. */
function playSettings(V) {
  const number = (key, least, most, otherwise) => {
    const value = Number(address.get(key) || NaN);
    return Number.isFinite(value) ? Math.min(Math.max(value, least), most) : otherwise;
  };
  const seed = (key) => number(key, 0, 2 ** 32 - 1, null);
  return {
    prefix: address.get("play.prefix") ?? "",
    temperature: number("play.temperature", 0, HIGHEST_TEMPERATURE, 1),
    topK: Math.round(number("play.top_k", 1, V, V)),
    order: address.get("play.order") === "alphabet" ? "alphabet" : "probability",
    fromPrefix: address.get("play.from_prefix") === "yes",
    seed: seed("play.seed"),
    letter: address.get("play.letter"),
    game: seed("play.game"),
  };
}

/** Write settings to the address; what has its default is left out. */
function rememberSettings({ prefix, temperature, topK, order, fromPrefix, seed, letter }, V) {
  address.set({
    "play.prefix": prefix,
    "play.temperature": temperature === 1 ? null : temperature,
    "play.top_k": topK === V ? null : topK,
    "play.order": order === "probability" ? null : order,
    "play.from_prefix": fromPrefix ? "yes" : null,
    "play.seed": seed,
    "play.letter": letter,
  });
}

/** What the cards share: the network, its characters, the names that the page knows, and the settings. */
class Play {
  constructor(run, shades) {
    this.network = networkOf(run);
    this.letters = new Letters(run.letters);
    this.kinds = new NameKinds(run.names);
    this.shades = shades;
    this.settings = playSettings(run.sizes.V);
    this.listeners = [];
  }

  /** Change settings. The address then holds them, and every card shows them. */
  change(settings) {
    const { V } = this.network.sizes;
    rememberSettings({ ...this.settings, ...settings }, V);
    rememberSettings(playSettings(V), V); // within their bounds
    this.restore();
  }

  /** What has been typed: its tokens, and as nodes what is wrong with it, or null. */
  get prefix() {
    const { tokens, unknown } = this.letters.encode(this.settings.prefix);
    return { tokens, problem: prefixProblem(this.letters, tokens, unknown) };
  }

  /** Show the settings of the address. */
  restore() {
    this.settings = playSettings(this.network.sizes.V);
    for (const listener of this.listeners) listener();
  }

  /** Call a function whenever a setting has changed, and when all cards have been made. */
  onChange(listener) {
    this.listeners.push(listener);
  }
}

function playView(section, { run, shades }) {
  const play = new Play(run, shades);
  if (!isAlwaysFinite(play.network)) {
    const problem = "The network's parameters are far too large: its logits are not finite.";
    section.append(make("p", { class: "wrong" }, problem));
    return;
  }
  const column = (...cards) => make("div", {}, ...cards.map((card) => card(play)));
  const left = column(contextEffectsCard, guessingCard);
  const right = column(sampledNamesCard, embeddingCard);
  const next = nextCharacterCard(play);
  section.append(make("div", { class: "play" }, next, make("div", { class: "columns" }, left, right)));
  play.restore();
  address.onChange(() => play.restore());
}
