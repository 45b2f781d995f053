"use strict";
// Names that the network makes up.

const SHOWN_NAMES = 16;
const ONE_GO = 10; // names for one press of the button
const LONGEST_ROW = 40; // characters
const STREAM_MS = 2000; // from name to name
const TURN_MS = 50; // after which the page answers the reader before it draws more names
const REST_MS = 200; // until the page looks again whether it may draw names
const SLOW_PRODUCTS = 1e6; // for one character: from here on, a name takes so long that drawing waits for the reader

/** A card with a stream of sampled names. */
function sampledNamesCard(play) {
  let kinds = []; // of the names so far
  let waiting = 0; // names that are still to be drawn
  let timer = null;
  const { V, H } = play.network.sizes;
  const isSlow = V * H > SLOW_PRODUCTS;
  const list = make("div", { class: "samples", role: "toolbar", "aria-label": "Sampled names" });
  const refresh = roving(list);
  const told = make("p", { class: "quiet" });
  const stream = button("", () => setStreaming(!streaming));
  const fromPrefix = make("input", {
    type: "checkbox", onchange: () => play.change({ fromPrefix: fromPrefix.checked }),
  });
  const seed = make("input", {
    type: "text", inputmode: "numeric", autocomplete: "off", class: "seed", placeholder: "any",
    "aria-describedby": "seed-problem", onchange: () => play.change({ seed: seed.value.trim() }),
  });
  const problem = make("p", { class: "wrong", id: "seed-problem", role: "status" });
  const beginning = make("p", { class: "wrong", role: "status" });
  const ownSeed = anySeed();
  let random = null;
  let drawnWith = null; // the settings that the names depend on
  let streaming = false;

  function setStreaming(on) {
    streaming = on;
    stream.textContent = on ? "Pause sampling" : "Keep sampling";
  }

  /** Ten more names; with a seed, always the same ten. */
  function sample() {
    const given = seedOf(play.settings.seed);
    if (Number.isNaN(given)) seed.focus();
    else if (given === null) add(ONE_GO);
    else restart(given);
  }

  function restart(from) {
    random = randomNumbers(from);
    list.replaceChildren();
    [kinds, waiting] = [[], 0];
    add(ONE_GO);
  }

  /** Draw names, the newest of which comes first. A large network takes several turns. */
  function add(number) {
    waiting += number;
    if (!isSlow) return turn();
    clearTimeout(timer);
    timer = setTimeout(turn, 0);
    tell();
  }

  /** Draw names for a short time, but not behind the reader's back. */
  function turn() {
    clearTimeout(timer);
    const until = performance.now() + TURN_MS;
    const mayDraw = !isAway() && !(isSlow && isTraining());
    while (mayDraw && waiting > 0 && performance.now() < until) drawOne();
    while (list.children.length > SHOWN_NAMES) list.lastChild.remove();
    refresh();
    tell();
    if (waiting > 0) timer = setTimeout(turn, mayDraw ? 0 : REST_MS);
  }

  function tell() {
    const waits = waiting > 0 && isSlow && isTraining();
    told.textContent = waits ? "Sampling waits until training pauses." : samplesSummary(kinds);
  }

  function isAway() {
    return document.hidden || list.offsetParent === null;
  }

  function drawOne() {
    waiting--;
    const { temperature, topK, fromPrefix: begins } = play.settings;
    const prefix = begins ? play.prefix.tokens : [];
    const probabilities = startProbabilities(play.network, prefix);
    const onDraw = (logits, token) => probabilities.push(probabilitiesOf(logits)[token]);
    const tokens = sampledName(play.network, random, { prefix, temperature, topK, onDraw });
    const kind = sampleKind(play, tokens);
    kinds.push(kind);
    list.prepend(sampleRow(play, tokens, kind, probabilities));
  }

  function tick() {
    const isBusy = isAway() || isTraining() || list.matches(":hover, :focus-within");
    if (streaming && !isBusy && !list.inert && waiting === 0) add(1);
  }

  function update() {
    const { temperature, topK, fromPrefix: begins, seed: text } = play.settings;
    [fromPrefix.checked, seed.value] = [begins, text];
    beginning.replaceChildren(...(begins ? beginningRemark(play.prefix) : []));
    const given = seedOf(text);
    const isWrong = Number.isNaN(given);
    seed.setAttribute("aria-invalid", String(isWrong));
    problem.textContent = isWrong ? `A random seed is a whole number from 0 to ${grouped(LARGEST_SEED)}.` : "";
    setStale(list, isWrong);
    if (isWrong) return;
    const now = JSON.stringify([given, temperature, topK, begins ? play.prefix.text : null]);
    if (now === drawnWith) return;
    drawnWith = now;
    restart(given ?? ownSeed);
  }

  play.onChange(update);
  setStreaming(false);
  setInterval(tick, STREAM_MS);
  return make(
    "section",
    { class: "card", "aria-label": "Sampled names" },
    make("h2", {}, "Sampled names"),
    make(
      "p", {},
      "Temperature and top-k act on sampling. The colours and the loss are the network's own, at temperature 1. " +
        `Choose a name to see its probabilities. With a random seed, the same ${ONE_GO} names come each time.`,
    ),
    make(
      "div",
      { class: "row" },
      button(`Sample ${ONE_GO} names`, sample, { class: "main" }),
      stream,
      make("label", {}, fromPrefix, "Begin with what is typed"),
      make("label", {}, "Random seed", seed),
    ),
    problem,
    beginning,
    list,
    told,
    play.kinds.remark === null ? null : make("p", { class: "inherited" }, play.kinds.remark),
  );
}

/** What names begin with while what is typed can't begin one, as nodes. */
function beginningRemark({ text, problem }) {
  if (problem === null) return [];
  if (text === "") return ["No name can begin with what is typed. These names begin with any character."];
  return ["No name can begin with what is typed. These names begin with ", quoted(text), "."];
}

/** Where a sampled name is found, or why it is none. */
function sampleKind(play, tokens) {
  if (tokens.length === 0) return "empty";
  return tokens.length >= LONGEST_SAMPLED_NAME ? "cut" : play.kinds.kind(play.letters.decode(tokens));
}

/** A sampled name, its loss and its kind. A name that was cut has no end. */
function sampleRow(play, tokens, kind, probabilities) {
  const name = play.letters.decode(tokens);
  const letters = kind === "cut" ? [...name] : [...name, END];
  return make(
    "button",
    { type: "button", class: "sample", onclick: () => play.inspect(name) },
    shadedName(letters.slice(0, LONGEST_ROW), probabilities, play.shades, letters.length > LONGEST_ROW ? "…" : null),
    make("span", { class: "number" }, `${lossText(meanLoss(probabilities))} nats`),
    make("span", { class: `kind ${kind}` }, KIND_TEXTS[kind]),
  );
}

/** How many names of each kind there were; what is rare is left out if there was none. */
function samplesSummary(kinds) {
  const count = (...wanted) => kinds.filter((kind) => wanted.includes(kind)).length;
  const often = ["train", "held_out", "new"].map((kind) => [count(kind), KIND_TEXTS[kind]]);
  const rare = [[count("unknown"), KIND_TEXTS.unknown], [count("empty", "cut"), "empty or cut"]];
  const told = [...often, ...rare.filter(([number]) => number > 0)];
  const parts = told.map(([number, text]) => `${grouped(number)} ${text}`);
  return `Of ${grouped(kinds.length)} names: ${parts.join(", ")}.`;
}

/** Whether the view Train, if the page has it, is training. */
function isTraining() {
  return document.querySelector("[data-training]") !== null;
}

/** A random seed that nobody chose. */
function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
