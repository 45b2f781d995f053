"use strict";
// The controls of training. They hold no state: `show` sets them, and each change is reported.

const LINES_BEFORE = 6; // a changed line of the pass
const RATE_STEPS = 50; // of the learning rate's slider, for a factor of ten

/**
 * @param {object} run
 * @param {Object<string, Function>} on - toggle, step, rewind, change, check, useNames, useRunNames, usePass
 */
function trainControls(run, on) {
  const start = button("Start", on.toggle, { class: "main" });
  const step = button("Step", on.step);
  const rewind = button("Rewind", on.rewind);
  const check = button("Check the gradients", on.check);
  const exponents = LEARNING_RATES.map((rate) => Math.round(RATE_STEPS * Math.log10(rate)));
  const rate = slider(
    "Learning rate",
    exponents,
    (place) => on.change({ learningRate: rateAt(place) }),
    (place) => shown(rateAt(place)),
  );
  const batch = slider("Batch size", BATCH_SIZES, (n) => on.change({ batchSize: n }), String);
  const hidden = slider("Hidden units", hiddenSizes(run), (H) => on.change({ hidden: H }), String, "change");
  const from = choice(
    "Weights at the start",
    { initial: "the run’s initial weights", trained: "the run’s trained weights" },
    (value) => on.change({ from: value }),
  );
  const mistake = choice("Backward pass", passTitles(), (name) => on.change({ mistake: name, edited: false }));
  const names = namesEditor(run, on);
  const pass = passEditor(on);
  const decay = `From step ${DECAY_STEP.toLocaleString("en")}, the rate is a tenth of this, as in the lecture.`;
  const element = make(
    "div",
    { class: "card train-controls" },
    make("div", { class: "row" }, start, step, rewind),
    rate.element,
    make("p", { class: "quiet" }, decay),
    batch.element,
    hidden.element,
    from.element,
    mistake.element,
    pass.note,
    make("div", { class: "row" }, check),
    names.element,
    pass.element,
  );

  function show(state, running, failed) {
    const ready = state.names !== null && !failed;
    start.textContent = running ? "Pause" : "Start";
    for (const one of [start, check]) one.disabled = !ready;
    step.disabled = !ready || running;
    rewind.disabled = state.names === null;
    rate.show(Math.round(RATE_STEPS * Math.log10(state.learningRate)), shown(state.learningRate));
    batch.show(state.batchSize);
    hidden.show(state.hidden);
    from.show(fitsRun(state, run) ? state.from : "new", fitsRun(state, run));
    mistake.show(state.edited ? "edited" : state.mistake);
    names.show(state);
    pass.show(state);
  }

  return { element, show, names };
}

function rateAt(place) {
  return Number((10 ** (place / RATE_STEPS)).toPrecision(3));
}

/** A slider with its value beside it, which says at once what it changes to. */
function slider(label, [min, max], onvalue, textOf, event = "input") {
  const output = make("strong", { class: "train-value" }); // an output element would take the label from the input
  const say = (text) => {
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  const input = make("input", {
    type: "range",
    min,
    max,
    step: 1,
    oninput: () => say(textOf(Number(input.value))),
  });
  input.addEventListener(event, () => onvalue(Number(input.value)));
  const show = (value, text = textOf(value)) => {
    input.value = value;
    say(text);
  };
  return { element: make("label", { class: "train-slider" }, make("span", {}, label, " ", output), input), show };
}

/** A list to choose from. Values that are not in it are shown as themselves, but can't be chosen. */
function choice(label, titles, onvalue) {
  const others = { new: "new weights", edited: "the edited pass" };
  const options = Object.entries(titles).map(([value, title]) => make("option", { value }, title));
  const other = make("option", { hidden: true, disabled: true });
  const select = make("select", { onchange: () => onvalue(select.value) }, ...options, other);
  const show = (value, enabled = true) => {
    if (!(value in titles)) {
      other.value = value;
      other.textContent = others[value];
    }
    select.value = value;
    select.disabled = !enabled;
  };
  return { element: make("label", { class: "train-choice" }, make("span", {}, label), select), show };
}

function passTitles() {
  return { "": "the right pass", ...Object.fromEntries(MISTAKES.map(({ name, title }) => [name, title])) };
}

/** Where a reader writes names to train on. */
function namesEditor(run, on) {
  const text = make("textarea", { rows: 6, dir: "auto", spellcheck: "false", "aria-label": "Names, one on each line" });
  const problem = make("p", { class: "wrong", role: "alert" });
  const about = make("p", { class: "quiet" });
  const useRun = button("Use the run’s names", () => on.useRunNames());
  const element = make(
    "details",
    { class: "train-details" },
    make("summary", {}, "Train on your own names"),
    about,
    text,
    problem,
    make(
      "div",
      { class: "row" },
      button("Use these names", () => on.useNames(text.value)),
      useRun,
    ),
  );
  const show = ({ names, own }) => {
    problem.textContent = "";
    useRun.disabled = run.names === null || !own;
    about.textContent = aboutNames(names, own, run);
    if (names === null) element.open = true;
  };
  return {
    element,
    show,
    refuse: (message) => {
      problem.textContent = message;
    },
  };
}

/** What the network is trained on, in a sentence or two. */
function aboutNames(names, own, run) {
  if (names === null) return "The names of this run are not in this page. Write or paste names, one on each line.";
  const count = (n) => n.toLocaleString("en");
  const [train, val] = [names.training.length, names.validation.length];
  const held = val > 0 ? `, and validation ${count(val)} others.` : ". There are too few to keep some for validation.";
  const part =
    !own && !run.names.train.complete ? " The page has only the first part of the run’s training names." : "";
  return `Training uses ${count(train)} ${own ? "of your" : "of the run’s"} names${held}${part}`;
}

/** The pass that trains, which a reader may change. */
function passEditor(on) {
  const note = make("p", { class: "quiet" }); // on the chosen mistake
  const text = make("textarea", {
    rows: 18,
    wrap: "off",
    dir: "ltr",
    spellcheck: "false",
    class: "code",
    "aria-label": "JavaScript of the pass",
  });
  const restore = button("Restore the right pass", () => on.change({ mistake: "", edited: false }));
  const element = make(
    "details",
    { class: "train-details" },
    make("summary", {}, "Read and change the pass"),
    make("p", {}, "This is the JavaScript that trains. Change a line, and see what it does to the loss."),
    text,
    make(
      "div",
      { class: "row" },
      button("Train with this text", () => on.usePass(text.value)),
      restore,
    ),
  );
  let latest = null;
  let changedLine = 0;
  /** Show the line that the chosen mistake changes, and some lines before it. */
  const scroll = () => {
    text.scrollTop = (changedLine - LINES_BEFORE) * parseFloat(getComputedStyle(text).lineHeight);
  };
  const show = ({ pass, mistake, edited }) => {
    if (pass === latest) return; // what a reader is writing stays
    text.value = pass;
    latest = pass;
    restore.disabled = mistake === "" && !edited;
    const chosen = edited ? null : MISTAKES.find(({ name }) => name === mistake);
    note.replaceChildren(...(chosen ? wrongLine(chosen) : []));
    note.hidden = !chosen;
    changedLine = chosen ? lineOf(chosen) : 0;
    scroll();
  };
  element.addEventListener("toggle", scroll);
  return { element, note, show };
}

/** The number of lines of the right pass before the line that a mistake changes. */
function lineOf({ right }) {
  const text = scriptText("pass.js");
  return text.slice(0, text.indexOf(right)).split("\n").length - 1;
}

function wrongLine({ right, wrong }) {
  if (wrong === "") return ["The line ", make("code", {}, right), " is missing."];
  return [make("code", {}, right), " has become ", make("code", {}, wrong), "."];
}
