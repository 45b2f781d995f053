"use strict";
// Names that the network makes up.

const SHOWN_NAMES = 16;
const ONE_GO = 10; // names for one press of the button
const STREAM_MS = 2000; // from name to name

/** A card with a stream of sampled names. */
function sampledNamesCard(play) {
  const counts = { drawn: 0, train: 0, held_out: 0, new: 0, unknown: 0 };
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
      const kind = play.kinds.kind(play.letters.decode(tokens));
      counts.drawn++;
      counts[kind]++;
      list.prepend(sampleRow(play, tokens, kind));
    }
    while (list.children.length > SHOWN_NAMES) list.lastChild.remove();
    refresh();
    told.textContent = samplesSummary(counts);
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
    Object.keys(counts).forEach((kind) => (counts[kind] = 0));
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
      "Temperature and top-k act on sampling. The colours and the loss are the network's own, at temperature 1. Choose a " +
        "name to see its probabilities.",
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

/** A sampled name, its loss and its kind. */
function sampleRow(play, tokens, kind) {
  const name = play.letters.decode(tokens);
  const isCut = tokens.length === LONGEST_SAMPLE;
  const probabilities = tokenProbabilities(play.network, tokens);
  return make(
    "button",
    { type: "button", class: "sample", onclick: () => play.inspect(name) },
    shadedName([...name, END], probabilities, play.shades),
    make("span", { class: "number" }, `${nats(meanLoss(probabilities))} nats`),
    make("span", { class: `kind ${kind}` }, isCut ? `cut at ${LONGEST_SAMPLE} characters` : KIND_TEXTS[kind]),
  );
}

function samplesSummary({ drawn, train, held_out: heldOut, new: added, unknown }) {
  const number = (count) => count.toLocaleString("en");
  const known = `${number(train)} in the training split, ${number(heldOut)} in the held-out data, ${number(added)} new`;
  return `Of ${number(drawn)} names: ${known}${unknown > 0 ? `, ${number(unknown)} unknown` : ""}.`;
}

/** A random seed that nobody chose. */
function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
