"use strict";
// What training shows: figures, sampled names, saturation, gradients, and the check of the gradients.

const LOSS_DECIMALS = 4; // one step changes little

function trainResults() {
  const places = Object.fromEntries(
    ["step", "speed", "loss", "validation", "saturated"].map((name) => [name, make("dd", {}, "–")]),
  );
  const figures = make(
    "dl",
    { class: "train-figures" },
    figure("step", places.step),
    figure("steps per second", places.speed),
    figure("loss of the latest batches", places.loss),
    figure("validation loss", places.validation),
    figure("saturated tanh units", places.saturated),
  );
  const samples = make("ul", { class: "train-samples" });
  const histograms = make("div", { class: "train-histograms" });
  const checked = make("div", { role: "status" });
  const element = make(
    "div",
    {},
    make("h3", {}, "Sampled names"),
    samples,
    make("h3", {}, "Activations and gradients of the latest batch"),
    make(
      "p",
      { class: "quiet" },
      `A tanh unit counts as saturated if |h| > ${SATURATED}: its gradient is then nearly zero.`,
    ),
    histograms,
  );

  function show({ step, speed, loss, validation }) {
    if (step !== undefined) places.step.textContent = grouped(step);
    if (speed !== undefined) places.speed.textContent = grouped(Math.round(speed));
    if (loss !== undefined) places.loss.textContent = lossText(loss, LOSS_DECIMALS);
    if (validation === null) places.validation.textContent = "–";
    else if (validation !== undefined) places.validation.textContent = lossText(validation, LOSS_DECIMALS);
  }

  function look(names, distributions, letters) {
    const all = Array.from(letters);
    samples.replaceChildren(...names.map((tokens) => make("li", {}, sampled(tokens, all))));
    if (distributions === null) return;
    places.saturated.textContent = `${(100 * distributions.saturated).toFixed(1)} %`;
    histograms.replaceChildren(
      distribution("h", "h", distributions.h),
      ...distributions.gradients.map(({ name, ...counts }) => distribution(`d${name}`, `gradient of ${name}`, counts)),
    );
  }

  function showCheck(step, results) {
    const wrong = results.filter(({ right }) => !right).map(({ name }) => `d${name}`);
    const verdict = wrong.length === 0 ? "All gradients are correct." : `Wrong: ${wrong.join(", ")}.`;
    const rows = results.map(({ name, difference, right }) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, make("code", {}, `d${name}`)),
        make("td", { class: "number" }, shown(difference)),
        make("td", { class: right ? "right" : "wrong" }, right ? "correct" : "wrong"),
      ),
    );
    checked.replaceChildren(
      make("h3", {}, `Gradient check after step ${grouped(step)}`),
      make(
        "p",
        {},
        make("strong", { class: wrong.length === 0 ? "right" : "wrong" }, verdict),
        ` Each parameter was moved in ${DIRECTIONS} random directions. The loss must change by what its gradient says.`,
      ),
      make(
        "div",
        { class: "scroll" },
        make(
          "table",
          {},
          make(
            "thead",
            {},
            make(
              "tr",
              {},
              make("th", { scope: "col" }, "gradient"),
              make("th", { scope: "col", class: "number" }, "relative difference"),
              make("th", { scope: "col" }, "verdict"),
            ),
          ),
          make("tbody", {}, ...rows),
        ),
      ),
    );
  }

  function clear() {
    for (const place of Object.values(places)) place.textContent = "–";
    for (const part of [samples, histograms, checked]) part.replaceChildren();
  }

  return { element, figures, checked, show, look, showCheck, clear };
}

function figure(label, place) {
  return make("div", {}, make("dt", {}, label), place);
}

/** A sampled name, isolated from the direction of the text around it. */
function sampled(tokens, letters) {
  if (tokens.length === 0) return make("span", { class: "quiet" }, "(empty)");
  return make("bdi", {}, tokens.map((token) => letters[token - 1]).join(""));
}

function distribution(caption, title, { counts, high }) {
  const chart = histogram(counts, { width: 150, height: 84, low: -high, high, title: `Histogram of the ${title}` });
  return make("figure", {}, chart, make("figcaption", {}, make("code", {}, caption)));
}
