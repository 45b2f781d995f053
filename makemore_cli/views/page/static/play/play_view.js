"use strict";
// Play with the network: next characters, sampled names, the embedding, and a game.

const LARGEST_SEED = 2 ** 32 - 1;

/** The settings of the view: those of the address. Numbers are within their bounds; texts may be wrong. */
function playSettings(V) {
  const number = (key, least, most, otherwise) => {
    const value = Number(address.get(key) || NaN);
    return Number.isFinite(value) ? Math.min(Math.max(value, least), most) : otherwise;
  };
  const game = seedOf(address.get("play.game") ?? "");
  return {
    prefix: address.get("play.prefix") ?? "",
    temperature: number("play.temperature", 0, HIGHEST_TEMPERATURE, 1),
    topK: Math.round(number("play.top_k", 1, V, V)),
    order: address.get("play.order") === "alphabet" ? "alphabet" : "probability",
    fromPrefix: address.get("play.from_prefix") === "yes",
    seed: address.get("play.seed") ?? "",
    letter: address.get("play.letter"),
    game: Number.isNaN(game) ? null : game,
  };
}

/** Write settings to the address; what has its default is left out. */
function rememberSettings({ prefix, temperature, topK, order, fromPrefix, seed, letter }, V, how) {
  const parts = {
    "play.prefix": prefix,
    "play.temperature": temperature === 1 ? null : temperature,
    "play.top_k": topK === V ? null : topK,
    "play.order": order === "probability" ? null : order,
    "play.from_prefix": fromPrefix ? "yes" : null,
    "play.seed": seed,
    "play.letter": letter,
  };
  address.set(parts, how);
}

/** A random seed from a text: null if there is none, NaN if the text is not a seed. */
function seedOf(text) {
  if (text === "") return null;
  return /^\d+$/.test(text) && Number(text) <= LARGEST_SEED ? Number(text) : NaN;
}

/** What the cards share: the network, its characters, the names that the page knows, and the settings. */
class Play {
  constructor(run, shades) {
    this.network = networkOf(run);
    this.letters = new Letters(run.letters);
    this.kinds = new NameKinds(run.names);
    this.shades = shades;
    this.settings = playSettings(run.sizes.V);
    this.prefix = { text: "", tokens: [], lowered: [], problem: null };
    this.listeners = [];
  }

  /** Change settings. The address then holds them, with `entry` as a new entry of the browser's history. */
  change(settings, { entry = false } = {}) {
    rememberSettings({ ...this.settings, ...settings }, this.network.sizes.V, { entry });
    this.restore();
  }

  /** Show the settings of the address. */
  restore() {
    const { V } = this.network.sizes;
    this.settings = playSettings(V);
    rememberSettings(this.settings, V); // within their bounds
    this.prefix = readPrefix(this.letters, this.settings.prefix, this.prefix);
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
