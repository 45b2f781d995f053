"use strict";
// The controls of training. They hold no state: `show` sets them, and each change is reported.

const MOST_MILESTONES = 4; // in the text
const NEW_WEIGHTS = "new weights";

/**
 * @param {object} run
 * @param {Object<string, Function>} on - toggle, step, rewind, change, check, useNames, useRunNames
 */
function trainControls(run, on) {
  const start = button("Start", on.toggle, { class: "main" });
  const step = button("Step", on.step);
  const rewind = button("Rewind", on.rewind);
  const check = button("Check the gradients", on.check);
  const rates = learningRates(run);
  const rate = slider(
    "Learning rate",
    [0, rates.length - 1],
    (place) => on.change({ learningRate: rates[place] }),
    (place) => rateText(rates[place]),
  );
  const batch = slider("Batch size", BATCH_SIZES, (n) => on.change({ batchSize: n }), String);
  const hidden = slider("Hidden units", hiddenSizes(run), (H) => on.change({ hidden: H }), String, "change");
  const from = choice(
    "Weights at the start",
    { initial: run.initial ? "the run's initial weights" : NEW_WEIGHTS, trained: "the run's trained weights" },
    (value) => on.change({ from: value }),
  );
  const mistake = choice("Backward pass", passTitles(), (name) => on.change({ mistake: name, edited: false }));
  const names = namesEditor(run, on);
  const changed = make("p", { class: "quiet" }); // by the chosen mistake
  const element = make(
    "div",
    { class: "card train-controls" },
    make("div", { class: "row" }, start, step, rewind),
    rate.element,
    make("p", { class: "quiet" }, scheduleText(run.schedule)),
    batch.element,
    hidden.element,
    from.element,
    mistake.element,
    changed,
    make("div", { class: "row" }, check),
    names.element,
  );

  function show(state, running, failed) {
    const ready = state.names !== null && !failed;
    start.textContent = running ? "Pause" : "Start";
    for (const one of [start, check]) one.disabled = !ready;
    step.disabled = !ready || running;
    rewind.disabled = state.names === null;
    const stop = rates.findLastIndex((one) => one <= state.learningRate);
    rate.show(stop, rateText(state.learningRate));
    batch.show(state.batchSize);
    hidden.show(state.hidden);
    from.show(fitsRun(state, run) ? state.from : "new", fitsRun(state, run));
    mistake.show(state.edited ? "edited" : state.mistake);
    names.show(state);
    const chosen = state.edited ? undefined : MISTAKES.find(({ name }) => name === state.mistake);
    changed.replaceChildren(...(chosen ? wrongLine(chosen) : []));
    changed.hidden = !chosen;
  }

  return { element, show, names };
}

/** When the learning rate falls, in a sentence or two. */
function scheduleText({ milestones, gamma, instead_of: other }) {
  if (milestones.length === 0) return "The learning rate is constant, as in the run.";
  const all = milestones.map(grouped);
  const some = all.length > MOST_MILESTONES ? [...all.slice(0, MOST_MILESTONES), "…"] : all;
  const at = all.length === 1 ? `At step ${all[0]}` : `At each of the steps ${some.join("; ")}`;
  const whose = other === null ? "run" : "lecture";
  const without = other === null ? "" : ` The page does not have the run's own schedule, which is ${other}.`;
  return `${at}, the rate is multiplied by ${rateText(gamma)}, as in the ${whose}.${without}`;
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
  const others = { new: NEW_WEIGHTS, edited: "the edited pass" };
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
  return { "": "the correct pass", ...Object.fromEntries(MISTAKES.map(({ name, title }) => [name, title])) };
}

/** Where a reader writes names to train on. */
function namesEditor(run, on) {
  const text = make("textarea", { rows: 6, dir: "auto", spellcheck: "false", placeholder: "emma\nolivia" });
  const problem = make("p", { class: "wrong", role: "alert" });
  const about = make("p", { class: "quiet" });
  const useRun = button("Use the run's names", () => on.useRunNames());
  const element = make(
    "details",
    { class: "train-details" },
    make("summary", {}, "Train on your own names"),
    about,
    make("label", { class: "train-choice" }, make("span", {}, "Names, one on each line"), text),
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
  const [train, val] = [names.training.length, names.validation.length];
  const tooFew = ". There are too few to keep some for validation.";
  const held = val > 0 ? `, and validation ${countOf(val, "other")}.` : tooFew;
  const part =
    !own && !run.names.train.complete ? " The page has only the first part of the run's training names." : "";
  const repeated = own ? names.duplicates : 0;
  const again = repeated > 0 ? ` Your text repeats ${countOf(repeated, "name")}; each one counts.` : "";
  return `Training uses ${grouped(train)} ${own ? "of your" : "of the run's"} names${held}${again}${part}`;
}

/** What a mistake changes, as nodes. */
function wrongLine({ right, wrong }) {
  if (wrong === "") return ["The line ", make("code", {}, right), " is missing."];
  return [make("code", {}, right), " has become ", make("code", {}, wrong), "."];
}
