"use strict";
// Train the network in the page.

/** Where the text of a pass is wrong, before what is wrong. */
function placeOfError(text, line) {
  if (line !== null) return `Line ${line}: `;
  if (/declar|duplicate/.test(text)) return ""; // a name of the page's own
  return text.startsWith("SyntaxError") ? "After the last line, where a bracket may be missing: " : "";
}

function trainView(section, { run }) {
  let state = trainState(run);
  let training = null; // the present TrainingRun; null if there are no names
  let running = false;
  let failed = false; // the pass threw an error
  const plot = new LossPlot();
  const results = trainResults();
  const message = make("p", { class: "train-message", role: "status" });
  const editor = passEditor({
    change,
    usePass: (pass) => change({ pass, edited: pass !== passWith(""), mistake: "" }),
  });
  const controls = trainControls(run, {
    toggle,
    change,
    step: () => training.send("step"),
    rewind: begin,
    check: () => training.send("check"),
    useNames,
    useRunNames: () => change({ names: namesOfRun(run), own: false }),
  });

  /** End the present run, and begin one from its first weights and batches. */
  function begin() {
    training?.end();
    results.clear();
    message.textContent = "";
    editor.refuse("");
    training = null;
    failed = false;
    setRunning(false);
    if (state.names === null) return;
    plot.begin(labelOfTraining(state, run), state);
    const mine = new TrainingRun(trainerOptions(state, run), state.pass, (report) => {
      if (mine === training) receivers[report.kind](report); // a run that has ended may still have sent some
    });
    training = mine;
  }

  function setRunning(value) {
    running = value;
    section.toggleAttribute("data-training", running);
    show();
  }

  function show() {
    controls.show(state, running, failed);
    editor.show(state);
  }

  function toggle() {
    setRunning(!running);
    training.send(running ? "start" : "pause");
  }

  /** Change the state. The learning rate and the batch size change in the present run; all else begins another one. */
  function change(changes) {
    const again = running;
    state = { ...state, ...changes };
    if (changes.mistake !== undefined && !state.edited) state.pass = passWith(state.mistake);
    rememberTraining(state, run);
    if (Object.keys(changes).every((key) => key === "learningRate" || key === "batchSize")) {
      show();
      training?.send("set", { learningRate: state.learningRate, batchSize: state.batchSize });
      return;
    }
    begin();
    if (again && training) toggle();
  }

  function useNames(text) {
    try {
      change({ names: namesOfText(text), own: true });
    } catch (problem) {
      controls.names.refuse(problem.message);
    }
  }

  const receivers = {
    losses({ step, losses, seconds, stopped }) {
      const loss = losses.reduce((sum, value) => sum + value, 0) / losses.length;
      plot.add(step, losses);
      results.show({ step, loss, ...(running && { speed: losses.length / seconds }) });
      if (!stopped) return;
      setRunning(false);
      message.textContent =
        `Training stopped after step ${grouped(step)}: the loss is not a finite number. ` +
        "Rewind, and lower the learning rate or choose the correct backward pass.";
    },
    look({ step, validation, samples, distributions }) {
      if (validation !== null) plot.mark(step, validation);
      results.show({ step, validation });
      results.look(samples, distributions, state.names.letters);
    },
    check({ step, results: checked }) {
      results.showCheck(step, checked);
    },
    weights({ kind, ...weights }) {
      saveText(
        "weights.json",
        JSON.stringify({ letters: state.names.letters, ...weights }, (_, value) =>
          ArrayBuffer.isView(value) ? [...value] : value,
        ),
      );
    },
    set({ step, ...settings }) {
      plot.set(step, settings);
    },
    silent() {
      message.textContent =
        `Training has not answered for ${PATIENCE} seconds: a step may be in an endless loop. Rewind stops it.`;
    },
    awake() {
      message.textContent = "";
    },
    error({ text, line }) {
      training.end();
      failed = true;
      setRunning(false);
      const problem = `${placeOfError(text, line)}${text}`;
      message.textContent = `The pass does not run. ${problem}`;
      editor.refuse(problem, line);
    },
  };

  address.onChange(() => {
    if (section.hidden) return; // a run is not ended from another view
    const wanted = withAddress(state, run);
    const changes = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => value !== state[key]));
    if (Object.keys(changes).length > 0) change(changes);
    else rememberTraining(state, run); // within their bounds
  });

  const intro =
    "The network trains in this page, with a backward pass written by hand. Break a line, and compare losses.";
  const smoothed = `Losses of batches include label smoothing of ${shown(run.smoothing)}; validation losses do not.`;
  section.append(
    make("h2", {}, "Train"),
    make("p", {}, intro),
    make(
      "div",
      { class: "train-layout" },
      controls.element,
      make(
        "div",
        { class: "train-results" },
        results.figures,
        message,
        plot.element,
        plot.legend,
        run.smoothing > 0 ? make("p", { class: "quiet" }, smoothed) : null,
        make(
          "div",
          { class: "row" },
          button("Clear earlier curves", () => plot.clear()),
          button("Save the plot as SVG", () => saveSvg("loss.svg", plot.svg)),
          button("Save the plot as PNG", () => savePng("loss.png", plot.svg)),
          button("Save the weights as JSON", () => training?.send("weights")),
        ),
        results.checked,
      ),
    ),
    editor.element,
    results.element,
  );
  rememberTraining(state, run);
  begin();
}
