"use strict";
// The chosen tensor of a chain: its lines with their rules, its numbers, and mistakes to try.

class TensorDetail {
  /**
   * @param {ChainState} state
   * @param {(changes: object, live?: boolean) => void} onChange is called with changes of the address
   */
  constructor(state, onChange) {
    Object.assign(this, { state, onChange });
    this.element = make("div", { class: "card chain-detail", "aria-label": "The chosen tensor", role: "region" });
    this.places = record(); // the chosen entry of each tensor
  }

  draw() {
    const { state } = this;
    const name = state.chosen;
    const symbols = state.symbols(name);
    this.cursor = new Cursor(this.places[name] ?? (state.change?.name === name ? state.change.place : 0));
    const heading = make(
      "h3",
      {},
      make("code", {}, name),
      " ",
      make("span", { class: "quiet" }, symbols ? symbols.join(" × ") || "a number" : ""),
    );
    const maps = make("div", { class: "maps" }, this.value(name), ...this.gradients(name));
    const lines = state.backward && !state.hidden.has(name) ? [...this.linesInto(name), ...this.linesFrom(name)] : [];
    this.element.replaceChildren(heading, ...this.origin(name), maps, ...lines, this.saving());
  }

  /** The forward line, or what kind of an input it is. */
  origin(name) {
    const step = this.state.steps[name];
    if (step) return [this.code(`${name} = ${step.forward.text}`), this.chips("reads", step.forward.reads)];
    const { real } = this.state.chain.inputs.find((one) => one.name === name);
    return [
      make(
        "p",
        { class: "quiet" },
        real ? "An input of the chain: no line computes it." : "An input without a gradient.",
      ),
    ];
  }

  code(text) {
    return make("pre", { class: "code line" }, text);
  }

  /** Buttons that lead to the tensors that a line reads. */
  chips(what, names) {
    const { state } = this;
    const chip = (name) => {
      const value = state.values[name];
      if (value !== undefined && !isTensor(value))
        return make("span", { class: "chip" }, `${name} = ${typeof value === "number" ? shown(value) : value}`);
      const leadsTo = state.names.includes(name) ? name : name.slice(1);
      if (!state.names.includes(leadsTo)) return make("span", { class: "chip" }, name);
      return button(name, () => this.onChange({ tensor: leadsTo }), { class: "chip", "data-control": "tensor" });
    };
    return make("p", { class: "chips" }, make("span", { class: "quiet" }, what), ...names.map(chip));
  }

  // --- Numbers ---

  map(x, options) {
    const { state } = this;
    const name = state.chosen;
    return heatMap(x, { ...options, describe: (index) => state.describe(name, index), cursor: this.cursor });
  }

  value(name) {
    const { state } = this;
    if (!state.isComputed(name))
      return make("p", { class: "quiet" }, "This step of the forward pass has not computed it yet.");
    const x = state.values[name];
    const input = state.chain.inputs.find((one) => one.name === name);
    const canChange = state.chain.live && input?.real && x.data.length > 0;
    const editor = make("div", { class: "row editor" });
    const edit = () => canChange && editor.replaceChildren(...this.editor(name, this.cursor.place));
    edit();
    this.cursor.onChoose = (place) => {
      this.places[name] = place;
      edit();
    };
    return make("div", {}, this.map(x, { name, caption: "value" }), editor);
  }

  /** Controls to change an entry of an input. The passes follow while the slider moves. */
  editor(name, place) {
    const { state } = this;
    const now = Number(state.values[name].data[place].toPrecision(6));
    const entry = entryOf(name, state.inputs[name].shape, place);
    const reach = 2 * Math.max(1e-3, largestOf(state.inputs[name]));
    const change = (event, live) => {
      const number = Number(event.target.value);
      if (event.target.value === "" || !Number.isFinite(number)) return;
      this.onChange({ change: `${name}~${place}~${number}` }, live);
    };
    const slider = make("input", {
      type: "range",
      min: -reach,
      max: reach,
      step: reach / 500,
      value: now,
      "data-control": "slider",
      oninput: (event) => change(event, true),
      onchange: (event) => change(event, false),
    });
    const field = make("input", {
      type: "number",
      step: "any",
      value: now,
      "data-control": "number",
      "aria-label": `${entry} as a number`,
      onchange: (event) => change(event, false),
    });
    return [make("label", {}, `Change ${entry}`, slider), field];
  }

  /** Heat maps of the gradient so far, of the part of each use, and of the right gradient if this one is wrong. */
  gradients(name) {
    const { state } = this;
    const say = (text) => [make("p", { class: "quiet" }, text)];
    if (!state.backward) return [];
    if (state.hidden.has(name)) return say(`The single expression makes d${name} unnecessary.`);
    if (!state.hasGradient(name)) return [];
    const gradient = state.gradient(name);
    if (!gradient) return say(`The backward pass has not reached d${name} yet.`);
    const right = state.verdict?.wrong.has(name) ? state.right.gradients[name] : null;
    const scale = state.isRounding(name) ? Infinity : Math.max(largestOf(gradient), right ? largestOf(right) : 0);
    const parts = (state.pass.parts[name] ?? []).filter((part) => part.order < state.step);
    const so = state.isComplete(name) ? "gradient" : "gradient so far";
    const caption = parts.length > 1 ? `${so}: the sum of ${parts.length} parts` : so;
    const found = [[gradient, caption]];
    if (parts.length > 1) found.push(...parts.map((part) => [part.value, `the part of the step ${part.step}`]));
    if (right) found.push([right, "the right gradient"]);
    return found.map(([x, words], at) =>
      this.map(x, { name: `d${name}`, caption: words, scale: at === 0 || x === right ? scale : undefined }),
    );
  }

  // --- Lines ---

  /** The lines that add to a tensor's gradient. */
  linesInto(name) {
    const uses = this.state.lines.filter((line) => line.target === `d${name}`);
    if (uses.length === 0) return [];
    const title = uses.length > 1 ? `d${name} is a sum over ${uses.length} uses` : `The line for d${name}`;
    return [make("h3", {}, title), ...uses.flatMap((line) => [this.line(line), this.reason(line)])].filter(Boolean);
  }

  /** The lines by which a step passes its gradient on. */
  linesFrom(name) {
    const step = this.state.order.find((one) => one.name === name);
    if (!step) return [];
    const reasons = step.lines.filter((line, at) => step.lines.findIndex((one) => one.why === line.why) === at);
    return [
      make("h3", {}, `d${name} is passed on to`),
      ...step.lines.map((line) => this.line(line)),
      ...reasons.map((line) => this.reason(line)),
    ].filter(Boolean);
  }

  /** A backward line, with a choice of mistakes. */
  line(line) {
    const { mistake } = this.state;
    const isBroken = isAt(mistake, line);
    const text = isBroken && mistake.wrong ? mistake.wrong.text : line.text;
    const code = this.code(
      `${isBroken && !mistake.wrong ? "# " : ""}${line.target} ${this.isFirst(line) ? "=" : "+="} ${text}`,
    );
    if (isBroken) code.classList.add("broken");
    const reads = isBroken && mistake.wrong?.code ? namesIn(mistake.wrong.code) : line.reads;
    return make("div", { class: "backward-line" }, code, this.chips("reads", reads), this.mistakes(line, isBroken));
  }

  isFirst(line) {
    return this.state.lines.find((one) => one.target === line.target).step === line.step;
  }

  reason(line) {
    if (!line.rule && !line.why) return null;
    const steps = (line.derivation ?? []).map(({ says, text }) => make("li", {}, says, this.code(text)));
    return make(
      "div",
      { class: "rule" },
      make("p", {}, make("b", {}, line.rule), line.rule && line.why ? ". " : "", line.why),
      steps.length > 0
        ? make("details", {}, make("summary", {}, "How the lines become this expression"), make("ol", {}, steps))
        : null,
    );
  }

  mistakes(line, isBroken) {
    if (line.mistakes.length === 0) return null;
    const place = `${line.step}~${line.target}`;
    const options = line.mistakes.map((mistake, number) => [`${place}~${number}`, mistake.words]);
    options.push([`${place}~none`, "the line is left out"]);
    const known = options.filter((_, at) =>
      canBreak(this.state.chain, { ...line, number: at < line.mistakes.length ? at : "none" }),
    );
    if (known.length === 0) return null;
    const chosen = isBroken ? `${place}~${this.state.mistake.number}` : "";
    const select = make(
      "select",
      {
        "data-control": `mistake ${place}`,
        "aria-label": `Break the line for ${line.target} in the step ${line.step}`,
        onchange: (event) => this.onChange({ mistake: event.target.value, step: null }),
      },
      make("option", { value: "", selected: chosen === "" }, "it is right"),
      ...known.map(([value, words]) => make("option", { value, selected: value === chosen }, words)),
    );
    return make("label", { class: "mistakes" }, "Break this line:", select);
  }

  saving() {
    const { state } = this;
    const save = () => {
      const real = state.chain.inputs.filter((input) => input.real);
      const arrays = real.map(({ name }) => [
        name,
        { shape: state.values[name].shape, data: [...state.values[name].data] },
      ]);
      saveText("inputs.json", JSON.stringify(Object.fromEntries(arrays)));
    };
    return make("p", {}, button("Save all inputs as JSON", save));
  }
}

/** The names that a line's code reads, in order. */
function namesIn(code) {
  if (!Array.isArray(code))
    return typeof code === "object" && code !== null ? Object.values(code).flatMap(namesIn) : [];
  if (code[0] === "name") return [code[1]];
  return [...new Set(code.slice(1).flatMap(namesIn))];
}
