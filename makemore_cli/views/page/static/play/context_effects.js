"use strict";
// What each character of the context contributes, measured by occlusion: it is replaced by ".", and the network is
// asked again.

const FEWEST_POSITIONS = 3; // in the table, if the context has as many
const MOST_POSITIONS = 16;
const LEADING = 5; // next characters in the table

/**
 * The effect of each position of a context (T) from `first` on: the change of the probabilities of `tokens` that it
 * makes, and the mean absolute change of the activations h.
 */
function contextEffects(network, context, tokens, first = 0) {
  const h = activations(network, context);
  const probabilities = probabilitiesOf(logitsOf(network, h));
  return context.slice(first).map((_, place) => {
    const occluded = activations(network, context.map((token, t) => (t === first + place ? 0 : token)));
    const without = probabilitiesOf(logitsOf(network, occluded));
    return {
      hidden: h.reduce((sum, activation, j) => sum + Math.abs(activation - occluded[j]), 0) / h.length,
      changes: tokens.map((token) => probabilities[token] - without[token]),
    };
  });
}

/** A card with a heat map of the effects. */
function contextEffectsCard(play) {
  const { T, H } = play.network.sizes;
  const table = make("table", { class: "effects" });
  const remark = make("p", { class: "quiet" });
  const effects = make("div", {}, scrolling("Effects of the positions", table), remark);
  const hint = make("p", { class: "quiet" }, "Type the beginning of a name to see what its characters contribute.");

  function update() {
    const { tokens, problem } = play.prefix;
    setStale(effects, problem !== null);
    effects.hidden = tokens.length === 0;
    hint.hidden = !effects.hidden;
    if (effects.hidden) return;
    const context = contextAfter(tokens, T);
    const leading = likeliest(probabilitiesAfter(play.network, tokens), LEADING);
    const first = Math.max(0, T - Math.min(Math.max(tokens.length, FEWEST_POSITIONS), MOST_POSITIONS));
    table.replaceChildren(...effectRows(play, context, leading, first));
    remark.textContent =
      (first > 0 ? `These are the last ${T - first} of ${grouped(T)} positions. ` : "") +
      "Temperature and top-k have no influence here. The changes do not add up, because tanh and softmax combine the " +
      "positions. A position that already holds “.” has no effect.";
  }

  play.onChange(update);
  return make(
    "section",
    { class: "card", "aria-label": "What each position contributes" },
    make("h2", {}, "What each position contributes"),
    make(
      "p", {},
      "Each cell compares the network with itself when the character at that position is replaced by “.”: the change " +
        "of a next character's probability in percentage points, and the mean absolute change of the " +
        `${H === 1 ? "activation" : `${grouped(H)} activations`} in the hidden layer.`,
    ),
    hint,
    effects,
  );
}

function effectRows(play, context, leading, first) {
  const effects = contextEffects(play.network, context, leading, first);
  const most = Math.max(...effects.flatMap(({ changes }) => changes.map(Math.abs)));
  const mostHidden = Math.max(...effects.map(({ hidden }) => hidden));
  const heading = (...content) => make("th", { scope: "col", class: "number" }, ...content);
  const head = make(
    "tr", {},
    make("th", { scope: "col" }, "Position"), heading("Hidden layer"),
    ...leading.map((token) => heading("P(", make("bdi", {}, visible(play.letters.all[token])), ")")),
  );
  const rows = effects.map(({ hidden, changes }, place) => {
    const position = first + place;
    const letter = make("bdi", { class: "code" }, visible(play.letters.all[context[position]]));
    return make(
      "tr", {},
      make("th", { scope: "row" }, `−${context.length - position} `, letter),
      effectCell(hidden.toFixed(3), hidden / mostHidden),
      ...changes.map((change) => effectCell(points(change), change / most)),
    );
  });
  return [make("caption", {}, "Changes that the positions make"), make("thead", {}, head), make("tbody", {}, ...rows)];
}

/** A cell whose colour says how large its number is, from −1 to 1. */
function effectCell(text, strength) {
  const strong = Math.round(40 * Math.abs(strength || 0));
  const hue = strength < 0 ? "negative" : "positive";
  const background = `background: color-mix(in srgb, var(--${hue}) ${strong}%, var(--card))`;
  return make("td", { class: "number", style: background }, text);
}

/** A change of a probability in percentage points. */
function points(change) {
  const text = (100 * Math.abs(change)).toFixed(1);
  if (text === "0.0") return "0.0";
  return (change < 0 ? "−" : "+") + text;
}
