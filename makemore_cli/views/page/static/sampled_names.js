"use strict";
// Names that the network makes up.

const SHOWN_NAMES = 16;
const ONE_GO = 10; // names for one press of the button
const LONGEST_ROW = 40; // characters
const STREAM_MS = 2000; // from name to name

/** A card with a stream of sampled names. */
function sampledNamesCard(play) {
  let kinds = []; // of the names so far
  const list = make("div", { class: "samples", role: "toolbar", "aria-label": "Sampled names" });
  const refresh = roving(list);
  const told = make("p", { class: "quiet" });
  const stream = button("Stream", () => setStreaming(!streaming), { "aria-pressed": "false" });
  const fromPrefix = make("input", {
    type: "checkbox", onchange: () => play.change({ fromPrefix: fromPrefix.checked }),
  });
  const seed = make("input", {
    type: "number", min: 0, max: 2 ** 32 - 1, step: 1, class: "seed", placeholder: "any",
    onchange: () => play.change({ seed: seed.value }),
  });
  let random = null;
  let started = null; // the seed with which they were drawn
  let streaming = false;

  function setStreaming(on) {
    streaming = on;
    stream.setAttribute("aria-pressed", String(on));
  }

  /** Draw names, the newest of which comes first. */
  function add(number) {
    const { tokens: prefix, problem } = play.settings.fromPrefix ? play.prefix : { tokens: [], problem: null };
    if (problem !== null) return;
    const { temperature, topK } = play.settings;
    for (let i = 0; i < number; i++) {
      const tokens = sampledName(play.network, random, { prefix, temperature, topK });
      const kind = sampleKind(play, tokens);
      kinds.push(kind);
      list.prepend(sampleRow(play, tokens, kind));
    }
    while (list.children.length > SHOWN_NAMES) list.lastChild.remove();
    refresh();
    told.textContent = samplesSummary(kinds);
  }

  function tick() {
    const isAway = document.hidden || list.offsetParent === null || list.matches(":hover, :focus-within");
    if (streaming && !isAway) add(1);
  }

  function update() {
    fromPrefix.checked = play.settings.fromPrefix;
    seed.value = play.settings.seed ?? "";
    if (random !== null && started === play.settings.seed) return;
    started = play.settings.seed;
    random = randomNumbers(started ?? anySeed());
    list.replaceChildren();
    kinds = [];
    add(SHOWN_NAMES);
  }

  play.onChange(update);
  setStreaming(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  setInterval(tick, STREAM_MS);
  return make(
    "section",
    { class: "card", "aria-label": "Sampled names" },
    make("h2", {}, "Sampled names"),
    make(
      "p", {},
      "Temperature and top-k act on sampling. The colours and the loss are the network's own, at temperature 1. " +
        "Choose a name to see its probabilities.",
    ),
    make(
      "div",
      { class: "row" },
      button(`Sample ${ONE_GO} names`, () => add(ONE_GO), { class: "main" }),
      stream,
      make("label", {}, fromPrefix, "Begin with what is typed"),
      make("label", {}, "Random seed", seed),
    ),
    list,
    told,
    play.kinds.remark === null ? null : make("p", { class: "inherited" }, play.kinds.remark),
  );
}

/** Where a sampled name is found, or why it is none. */
function sampleKind(play, tokens) {
  if (tokens.length === 0) return "empty";
  return tokens.length >= LONGEST_SAMPLE ? "cut" : play.kinds.kind(play.letters.decode(tokens));
}

/** A sampled name, its loss and its kind. A name that was cut has no end. */
function sampleRow(play, tokens, kind) {
  const name = play.letters.decode(tokens);
  const letters = kind === "cut" ? [...name] : [...name, END];
  const probabilities = tokenProbabilities(play.network, tokens).slice(0, letters.length);
  return make(
    "button",
    { type: "button", class: "sample", onclick: () => play.inspect(name) },
    shadedName(letters.slice(0, LONGEST_ROW), probabilities, play.shades, letters.length > LONGEST_ROW ? "…" : null),
    make("span", { class: "number" }, `${nats(meanLoss(probabilities))} nats`),
    make("span", { class: `kind ${kind}` }, KIND_TEXTS[kind]),
  );
}

/** How many names of each kind there were; what is rare is left out if there was none. */
function samplesSummary(kinds) {
  const count = (...wanted) => kinds.filter((kind) => wanted.includes(kind)).length;
  const rare = [[count("unknown"), "perhaps new"], [count("empty", "cut"), "empty or cut"]].filter(([number]) => number > 0);
  const parts = [
    [count("train"), KIND_TEXTS.train],
    [count("held_out"), KIND_TEXTS.held_out],
    [count("new"), KIND_TEXTS.new],
    ...rare,
  ];
  return `Of ${grouped(kinds.length)} names: ${parts.map(([number, text]) => `${grouped(number)} ${text}`).join(", ")}.`;
}

/** A random seed that nobody chose. */
function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
