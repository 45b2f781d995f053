"use strict";
// The chain as a graph of tensors from the inputs to the loss, with the lines, numbers and mistakes of each.

const ROW = 30; // CSS pixels: the height of a row of the graph
const GUTTER = 72; // CSS pixels, for the arcs beside the rows
const THUMBNAIL = [64, 16]; // entries of a heat map in a row, at most

function chainView(section, { chain }) {
  for (const [key, value] of Object.entries(chain.start)) {
    if (address.get(key) === null) address.set({ [key]: value });
  }
  new ChainView(section, chain);
}

class ChainView {
  constructor(section, chain) {
    this.chain = chain;
    this.inputs = inputsOf(chain);
    this.original = { values: chainForward(chain, this.inputs) };
    this.original.pass = chainBackward(chain, this.original.values);
    this.steps = Object.fromEntries(chain.steps.map((step) => [step.name, step]));
    this.chosenPlaces = {}; // of values, by tensor
    this.parts = {
      bar: make("div", { class: "row chain-bar", role: "toolbar", "aria-label": "Passes and steps" }),
      verdict: make("div", { class: "chain-verdict", "aria-live": "polite" }),
      list: make("div", { class: "chain-list", role: "group", "aria-label": "Tensors of the chain" }),
      detail: make("div", { class: "card chain-detail", "aria-label": "The chosen tensor", role: "region" }),
    };
    if (!section.closest(".single")) section.append(make("h2", {}, chain.title), make("p", { class: "quiet" }, chain.about));
    section.append(
      this.parts.bar,
      this.parts.verdict,
      make("div", { class: "chain-columns" }, this.parts.list, this.parts.detail),
      make("p", { class: "quiet" },
        "Arrow keys up and down choose a tensor; left and right go a step back and forward. Blue is negative, orange positive."),
      this.proof(),
    );
    this.parts.list.addEventListener("keydown", (event) => this.onKey(event));
    section.addEventListener("keydown", (event) => this.onStepKey(event));
    address.onChange(() => this.show());
    onTheme(() => this.show());
    this.show();
    const row = document.getElementById(`tensor-${this.chosen}`);
    if (row) this.parts.list.scrollTop = row.offsetTop - this.parts.list.clientHeight / 2; // and not the page
  }

  // --- State ---

  /** What is shown, from the address. */
  readState() {
    const { chain } = this;
    const names = [...chain.inputs.map((input) => input.name), ...chain.steps.map((step) => step.name)];
    const wanted = address.get("tensor");
    this.backward = address.get("pass") !== "forward";
    this.fused = address.get("lines") === "fused" && chain.layers.some((layer) => layer.fused);
    this.folded = new Set((address.get("folded") ?? "").split(",").filter(Boolean).map(Number));
    this.mistake = this.readMistake(address.get("mistake"));
    this.change = this.readChange(address.get("change"));
    this.order = backwardSteps(chain, this.fused);
    this.last = this.backward ? this.order.length : chain.steps.length;
    const step = Number.parseInt(address.get("step") ?? "", 10);
    this.step = step >= 0 && step < this.last ? step : this.last;
    this.hidden = skipped(chain, this.fused);
    this.chosen = names.includes(wanted) ? wanted : chain.steps.at(-1).name;
  }

  /** A mistake as step.target.number, if there is one. */
  readMistake(text) {
    const [step, target, number] = (text ?? "").split("~");
    const line = this.steps[step]?.backward.find((one) => one.target === target);
    if (!line || !(number === "none" || number in line.mistakes)) return null;
    return { step, target, number };
  }

  /** A changed entry of an input as name.place.number, if there is one. */
  readChange(text) {
    const [name, place, number] = (text ?? "").split("~");
    const input = this.chain.inputs.find((one) => one.name === name);
    if (!this.chain.live || !input?.real || !(Number(place) < this.inputs[name].data.length)) return null;
    return Number.isFinite(Number(number)) ? { name, place: Number(place), number: Number(number) } : null;
  }

  setState(changes) {
    address.set(changes);
    this.show();
  }

  // --- Computation ---

  compute() {
    this.values = this.original.values;
    if (this.change) {
      const { name, place, number } = this.change;
      const changed = tensor(this.inputs[name].shape, this.inputs[name].data.slice());
      changed.data[place] = number;
      this.values = chainForward(this.chain, { ...this.inputs, [name]: changed });
    }
    const same = !this.change && !this.fused;
    this.right = same ? this.original.pass : chainBackward(this.chain, this.values, { fused: this.fused });
    this.pass = this.right;
    this.verdict = null;
    if (this.mistake) {
      this.pass = chainBackward(this.chain, this.values, { mistake: this.mistake, fused: this.fused });
      this.verdict = verdictOn(this.mistake, this.right, this.pass);
    }
  }

  /** Whether a tensor's value has been computed at the present step. */
  isComputed(name) {
    if (this.backward || !(name in this.steps)) return true;
    return this.chain.steps.findIndex((step) => step.name === name) < this.step;
  }

  /** A tensor's gradient at the present step, or null. */
  gradient(name) {
    if (!this.backward || this.hidden.has(name)) return null;
    if (name in this.chain.above) return this.pass.gradients[name];
    return this.step === this.last ? (this.pass.gradients[name] ?? null) : gradientSoFar(this.pass, name, this.step);
  }

  /** Whether all uses of a tensor have passed their part of its gradient back. */
  isComplete(name) {
    const uses = this.order.flatMap((step, order) => step.lines.filter((line) => line.target === `d${name}`).map(() => order));
    return uses.every((order) => order < this.step);
  }

  /** The name of the step that the present step of the pass has just run. */
  get present() {
    return this.backward ? this.order[this.step - 1]?.name : this.chain.steps[this.step - 1]?.name;
  }

  // --- Drawing ---

  show() {
    this.readState();
    this.compute();
    this.showBar();
    this.showVerdict();
    this.showList();
    this.showDetail();
  }

  showBar() {
    const focused = document.activeElement?.getAttribute("data-control");
    const choice = (text, key, value, pressed) =>
      button(text, () => this.setState({ [key]: value, step: null }), { "aria-pressed": pressed, "data-control": text });
    const go = (text, step, label) =>
      button(text, () => this.goTo(step), {
        "aria-label": label, "data-control": label, disabled: step < 0 || step > this.last || step === this.step,
      });
    const { chain } = this;
    const bar = [
      make("span", { class: "group" },
        choice("Forward", "pass", "forward", !this.backward), choice("Backward", "pass", null, this.backward)),
      make("span", { class: "group" },
        go("«", 0, "To the first step"), go("‹", this.step - 1, "A step back"),
        make("span", { class: "step" }, `step ${this.step} of ${this.last}`),
        go("›", this.step + 1, "A step forward"), go("»", this.last, "To the last step")),
    ];
    if (chain.layers.some((layer) => layer.fused)) {
      bar.push(make("span", { class: "group" },
        choice("Atomic", "lines", null, !this.fused), choice("Fused", "lines", "fused", this.fused)));
    }
    bar.push(...this.outputs());
    if (this.mistake || this.change) {
      bar.push(button("Undo", () => this.setState({ mistake: null, change: null }), { "data-control": "Undo" }));
    }
    this.parts.bar.replaceChildren(...bar);
    if (focused) this.parts.bar.querySelector(`[data-control="${focused}"]`)?.focus();
  }

  /** The outputs that are single numbers, such as the loss. */
  outputs() {
    return this.chain.outputs.filter((name) => this.values[name].data.length === 1 && this.isComputed(name)).map((name) => {
      const [number] = this.values[name].data;
      const [before] = this.original.values[name].data;
      const moved = this.change && before !== number ? ` (was ${shown(before)})` : "";
      return make("span", {}, make("b", {}, name), ` = ${shown(number)}${moved}`);
    });
  }

  showVerdict() {
    const lines = [];
    if (this.verdict) {
      const line = this.steps[this.mistake.step].backward.find((one) => one.target === this.mistake.target);
      const words = this.mistake.number === "none" ? "the line is left out" : line.mistakes[this.mistake.number].words;
      const inherited = [...this.verdict.wrong].filter((name) => name !== this.verdict.named);
      lines.push(make("p", {}, make("b", { class: "wrong" }, "Broken: "), make("code", {}, this.mistake.target),
        ` in the step ${this.mistake.step}: ${words}.`));
      lines.push(make("p", {}, `Gradcheck tests each line alone, and names d${this.verdict.named}. `,
        this.verdict.wrong.size === 0
          ? "At these numbers no gradient shows the mistake: the line adds nothing here, right or wrong."
          : inherited.length === 0
            ? "No other gradient is wrong."
            : `${inherited.length} other gradient${inherited.length > 1 ? "s are" : " is"} wrong only because ` +
              `d${this.verdict.named} is: ${inherited.map((name) => `d${name}`).join(", ")}.`));
      if (this.pass.stopped) lines.push(make("p", { class: "wrong" }, `The backward pass stops: ${this.pass.stopped}.`));
    }
    if (this.change) lines.push(this.explainChange());
    this.parts.verdict.replaceChildren(...lines);
    this.parts.verdict.classList.toggle("card", lines.length > 0);
    this.parts.verdict.classList.toggle("is-wrong", this.verdict !== null);
  }

  /** What a changed weight does to the loss, beside what its gradient foretells. */
  explainChange() {
    const { name, place, number } = this.change;
    const by = number - this.inputs[name].data[place];
    const entry = `${name}[${indexOf(this.inputs[name].shape, place).join(", ")}]`;
    const moved = this.chain.steps.filter((step) => distance(this.values[step.name], this.original.values[step.name]) > 0);
    const output = this.chain.outputs.find((one) => this.values[one].data.length === 1);
    const text = [`${entry} is ${shown(number)} instead of ${shown(this.inputs[name].data[place])}. `,
      `${moved.length} of ${this.chain.steps.length} tensors of the forward pass change. `];
    if (output && this.original.pass.gradients[name]) {
      const foretold = this.original.pass.gradients[name].data[place] * by;
      const actual = this.values[output].data[0] - this.original.values[output].data[0];
      text.push(`Its gradient foretells a change of the ${output} by ${shown(foretold)}; the change is ${shown(actual)}.`);
    }
    return make("p", {}, ...text);
  }

  /** The rows of the graph: layers, and tensors, each input before the first step that reads it. */
  rows() {
    const { chain } = this;
    const rows = [];
    const placed = new Set();
    const isShown = (name) => isTensor(this.values[name]) && !this.hidden.has(name);
    const place = (step, layer) => {
      const inputs = step.forward.reads.filter((name) => !(name in this.steps) && !placed.has(name));
      for (const name of [...inputs, step.name].filter(isShown)) {
        placed.add(name);
        rows.push({ name, layer });
      }
    };
    for (const step of chain.steps) {
      const layer = chain.layers.findIndex((one) => one.steps.includes(step.name));
      if (layer >= 0 && chain.layers[layer].steps[0] === step.name) rows.push({ heading: chain.layers[layer].name, layer });
      place(step, layer);
    }
    return rows.filter((row) => row.heading || !this.folded.has(row.layer));
  }

  showList() {
    const rows = this.rows();
    const places = {};
    rows.forEach((row, at) => (places[row.name ?? `layer ${row.layer}`] = at));
    /** The row of a tensor; a folded layer's tensors are all in its heading. */
    const placeOf = (name) => {
      if (name in places) return places[name];
      const layer = this.chain.layers.findIndex((one) => one.steps.includes(name) || this.ownInputs(one).includes(name));
      return places[`layer ${layer}`];
    };
    const focused = document.activeElement?.id;
    const within = this.parts.list.contains(document.activeElement);
    this.parts.list.replaceChildren(this.arcs(rows.length, placeOf), ...rows.map((row) => this.row(row)));
    if (within) document.getElementById(focused.startsWith("tensor-") ? `tensor-${this.chosen}` : focused)?.focus();
  }

  /** The inputs that a layer reads first. */
  ownInputs(layer) {
    const before = this.chain.steps.slice(0, this.chain.steps.findIndex((step) => step.name === layer.steps[0]));
    const earlier = new Set(before.flatMap((step) => step.forward.reads));
    return layer.steps.flatMap((name) => this.steps[name].forward.reads).filter((name) => !earlier.has(name));
  }

  row(row) {
    if (row.heading) {
      const folded = this.folded.has(row.layer);
      const fold = () => {
        const layers = new Set(this.folded);
        if (!layers.delete(row.layer)) layers.add(row.layer);
        this.setState({ folded: [...layers].join(",") });
      };
      const count = this.chain.layers[row.layer].steps.length;
      return make("button", { type: "button", class: "chain-row heading", id: `layer-${row.layer}`, onclick: fold,
        "aria-expanded": !folded },
        make("span", { "aria-hidden": true }, folded ? "▸" : "▾"), make("span", {}, row.heading),
        folded ? make("span", { class: "quiet" }, `${count} tensors`) : null);
    }
    const { name } = row;
    const mark = this.markOf(name);
    const isChosen = name === this.chosen;
    return make("button", {
      type: "button", class: `chain-row${isChosen ? " chosen" : ""}${name === this.present ? " present" : ""}`,
      id: `tensor-${name}`, "aria-current": isChosen, tabindex: isChosen ? 0 : -1, onclick: () => this.choose(name),
    },
      make("span", { class: "code name" }, this.backward && this.hasGradient(name) ? `d${name}` : name),
      make("span", { class: "quiet shape" }, this.values[name].shape.join("×") || "1"),
      this.thumbnail(name),
      make("span", { class: `mark ${mark.kind}` }, mark.text));
  }

  hasGradient(name) {
    return name in this.right.gradients && !this.hidden.has(name);
  }

  /** What a row says about its tensor: wrong, inherited, incomplete, or how far a change has moved it. */
  markOf(name) {
    if (this.verdict && this.backward && (this.verdict.wrong.has(name) || this.verdict.named === name)) {
      if (name === this.verdict.named) return { kind: "wrong", text: "✗ wrong" };
      return this.gradient(name) ? { kind: "inherited", text: "↳ inherited" } : { kind: "", text: "" };
    }
    if (this.backward && this.gradient(name) && !this.isComplete(name)) return { kind: "quiet", text: "so far" };
    if (this.change && !this.backward && this.isComputed(name)) {
      const by = distance(this.values[name], this.original.values[name]);
      if (by > 0) return { kind: "inherited", text: `Δ ${shown(by)}` };
    }
    return { kind: "", text: "" };
  }

  thumbnail(name) {
    const x = this.backward ? this.gradient(name) : this.isComputed(name) ? this.values[name] : null;
    const canvas = make("canvas", { class: `thumbnail${x ? "" : " empty"}`, "aria-hidden": "true" });
    if (x) paint(canvas, x, { widest: THUMBNAIL[0], tallest: THUMBNAIL[1] });
    return canvas;
  }

  /** An arc from each tensor to each step that reads it, or back in the backward pass. */
  arcs(count, placeOf) {
    const svg = draw("svg", { class: "arcs", width: GUTTER, height: count * ROW, "aria-hidden": "true" });
    for (const step of this.chain.steps) {
      for (const name of new Set(step.forward.reads.filter((one) => isTensor(this.values[one])))) {
        const [from, to] = [placeOf(name), placeOf(step.name)];
        if (from === undefined || to === undefined || from === to) continue;
        const near = name === this.chosen || step.name === this.chosen;
        svg[near ? "append" : "prepend"](this.arc(from, to, near));
      }
    }
    return svg;
  }

  arc(from, to, near) {
    const [start, end] = this.backward ? [to, from] : [from, to];
    const [y1, y2] = [start * ROW + ROW / 2, end * ROW + ROW / 2];
    const x = GUTTER - 8;
    const bulge = Math.min(GUTTER - 14, 10 + 5 * Math.abs(end - start));
    const tip = y2 + (y2 > y1 ? -3 : 3);
    return draw("g", { class: near ? "near" : "" },
      draw("path", { d: `M${x} ${y1} C${x - bulge * 1.3} ${y1}, ${x - bulge * 1.3} ${tip}, ${x} ${tip}`, fill: "none" }),
      draw("path", { class: "tip", d: `M${x + 5} ${tip} l-7 -4 v8 z` }));
  }

  // --- The chosen tensor ---

  showDetail() {
    const { chosen: name } = this;
    const step = this.steps[name];
    const input = this.chain.inputs.find((one) => one.name === name);
    const symbols = (step ?? input).shape;
    const heading = make("h3", {}, make("code", {}, name), " ",
      make("span", { class: "quiet" }, symbols ? symbols.join(" × ") || "a number" : ""));
    const origin = step
      ? [this.codeLine(`${name} = ${step.forward.text}`), this.chips("reads", step.forward.reads)]
      : [make("p", { class: "quiet" }, `No step computes it: it is an input${input.real ? "" : " without a gradient"}.`)];
    const value = this.isComputed(name)
      ? this.valueMap(name, input)
      : make("p", { class: "quiet" }, "It is not computed yet at this step of the forward pass.");
    const lines = this.backward && !this.hidden.has(name) ? [...this.linesInto(name), ...(step ? this.linesOf(step) : [])] : [];
    this.parts.detail.replaceChildren(heading, ...origin,
      make("div", { class: "maps" }, value, ...this.gradientMaps(name)), ...lines, this.saveButton());
  }

  codeLine(text) {
    return make("pre", { class: "code line" }, text);
  }

  /** Links to the tensors that a line reads. */
  chips(what, names) {
    const chip = (name) => {
      const tensorName = name in this.values ? name : name.slice(1);
      const value = this.values[name];
      if (typeof value === "number") return make("span", { class: "chip" }, `${name} = ${shown(value)}`);
      return button(name, () => this.choose(tensorName), { class: "chip" });
    };
    return make("p", { class: "chips" }, make("span", { class: "quiet" }, what), ...names.map(chip));
  }

  valueMap(name, input) {
    const x = this.values[name];
    const canChange = this.chain.live && input?.real && x.data.length > 0;
    const at = this.chosenPlaces[name] ?? (this.change?.name === name ? this.change.place : 0);
    const editor = make("div", { class: "row editor" }, ...(canChange ? this.editor(name, at) : []));
    const map = heatMap(x, {
      name, caption: "value", describe: (index) => this.describe(name, index), at,
      onChoose: (place) => {
        this.chosenPlaces[name] = place;
        if (canChange) editor.replaceChildren(...this.editor(name, place));
      },
    });
    return make("div", {}, map, editor);
  }

  /** Controls to change an entry of an input. */
  editor(name, place) {
    const x = this.values[name];
    const entry = `${name}[${indexOf(x.shape, place).join(", ")}]`;
    const reach = 2 * Math.max(1e-3, largestOf(this.inputs[name]));
    const change = (event) => {
      const number = Number(event.target.value);
      if (event.target.value !== "" && Number.isFinite(number)) this.setState({ change: `${name}~${place}~${number}` });
    };
    const slider = make("input", { type: "range", min: -reach, max: reach, step: reach / 500, value: x.data[place], onchange: change });
    const field = make("input", { type: "number", step: "any", value: x.data[place], onchange: change });
    return [make("label", {}, `Change ${entry} `, slider), make("label", {}, make("span", { class: "visually-hidden" }, `${entry} as a number`), field)];
  }

  /** The gradient so far, the part of each use, and the right gradient if it is wrong. */
  gradientMaps(name) {
    const say = (text) => [make("p", { class: "quiet" }, text)];
    if (this.hidden.has(name)) return say(`The fused pass does not compute d${name}.`);
    if (!(name in this.right.gradients) || !this.backward) return [];
    const gradient = this.gradient(name);
    if (!gradient) return say(`The backward pass has not reached d${name} yet.`);
    const parts = (this.pass.parts[name] ?? []).filter((part) => part.order < this.step);
    const note = this.isComplete(name) ? "gradient" : "gradient so far";
    const map = (x, caption) => heatMap(x, { name: `d${name}`, caption, describe: (index) => this.describe(name, index) });
    const found = [map(gradient, parts.length > 1 ? `${note}: the sum of ${parts.length} parts` : note)];
    if (parts.length > 1) found.push(...parts.map((part) => map(part.value, `the part of the step ${part.step}`)));
    if (this.verdict?.wrong.has(name)) found.push(map(this.right.gradients[name], "the right gradient"));
    return found;
  }

  /** The lines that add to a tensor's gradient. */
  linesInto(name) {
    const uses = this.order.flatMap((step) => step.lines).filter((line) => line.target === `d${name}`);
    if (uses.length === 0) return [];
    const title = uses.length > 1 ? `d${name} is a sum over ${uses.length} uses` : `The line for d${name}`;
    return [make("h3", {}, title), ...uses.flatMap((line) => [this.backwardLine(line), this.ruleOf(line)])].filter(Boolean);
  }

  /** The lines by which a step passes its gradient on. */
  linesOf(step) {
    const order = this.order.find((one) => one.name === step.name);
    if (!order) return [];
    const rules = order.lines.filter((line, at) => order.lines.findIndex((one) => one.rule === line.rule) === at);
    return [make("h3", {}, `d${step.name} is passed on to`),
      ...order.lines.map((line) => this.backwardLine(line)), ...rules.map((line) => this.ruleOf(line))].filter(Boolean);
  }

  ruleOf(line) {
    return line.rule ? make("p", { class: "rule" }, make("b", {}, line.rule), line.why ? `. ${line.why}` : "") : null;
  }

  /** A backward line, and the mistakes to try in it. */
  backwardLine(line) {
    const here = isAt(this.mistake, line);
    const wrong = here && this.mistake.number !== "none" ? line.mistakes[this.mistake.number] : null;
    const parts = [this.codeLine(`${line.target} ${this.isFirst(line) ? "=" : "+="} ${wrong ? wrong.text : line.text}`)];
    if (here) parts[0].classList.add("broken");
    if (here && !wrong) parts[0].textContent = `# ${parts[0].textContent}`;
    parts.push(this.chips("reads", line.reads));
    if (line.mistakes.length > 0) parts.push(this.mistakes(line, here));
    return make("div", { class: "backward-line" }, ...parts);
  }

  isFirst(line) {
    const lines = this.order.flatMap((step) => step.lines).filter((one) => one.target === line.target);
    return lines[0].step === line.step;
  }

  mistakes(line, here) {
    const value = (number) => `${line.step}~${line.target}~${number}`;
    const options = line.mistakes.map((mistake, number) => [value(number), mistake.words]);
    options.push([value("none"), "the line is left out"]);
    const chosen = here ? value(this.mistake.number) : "";
    const select = make("select", { onchange: (event) => this.setState({ mistake: event.target.value, step: null, pass: null }) },
      make("option", { value: "", selected: chosen === "" }, "none: the line is right"),
      ...options.map(([key, words]) => make("option", { value: key, selected: key === chosen }, words)));
    return make("label", { class: "mistakes" }, `Mistake in ${line.target}, step ${line.step}:`, select);
  }

  /** What an entry belongs to: which example, character or unit. */
  describe(name, index) {
    const symbols = (this.steps[name] ?? this.chain.inputs.find((one) => one.name === name)).shape;
    if (!symbols || symbols.length !== index.length) return "";
    const texts = symbols.map((symbol, dim) => {
      const labels = this.chain.labels[symbol];
      return `${symbol} = ${index[dim]}${labels?.[index[dim]] === undefined ? "" : ` (${labels[index[dim]]})`}`;
    });
    return texts.filter((_, dim) => symbols[dim] !== "1").join(", ");
  }

  saveButton() {
    const weights = () => {
      const named = this.chain.inputs.filter((input) => input.real).map(({ name }) => {
        const { shape, data: numbers } = this.values[name];
        return [name, { shape, data: [...numbers] }];
      });
      saveText("weights.json", JSON.stringify(Object.fromEntries(named)));
    };
    return make("p", {}, button("Save the inputs as JSON", weights));
  }

  /** Whether the page's own numbers are those that PyTorch computed when the page was written. */
  proof() {
    const other = notAsPyTorch(this.chain, this.original.values, this.original.pass);
    const count = Object.keys(this.chain.fingerprints).length;
    if (other.length === 0) {
      return make("p", { class: "quiet proof" },
        `All ${count} values and gradients agree with those that PyTorch and its autograd computed when this page was written.`);
    }
    return make("p", { class: "wrong proof" },
      `These differ from what PyTorch and its autograd computed when this page was written: ${other.join(", ")}.`);
  }

  // --- Keys ---

  choose(name) {
    this.setState({ tensor: name });
    if (this.parts.list.contains(document.activeElement)) document.getElementById(`tensor-${name}`)?.focus();
    document.getElementById(`tensor-${name}`)?.scrollIntoView({ block: "nearest" });
  }

  goTo(step) {
    const inRange = Math.min(this.last, Math.max(0, step));
    const order = this.backward ? this.order[inRange - 1]?.name : this.chain.steps[inRange - 1]?.name;
    this.setState({ step: inRange === this.last ? null : inRange, ...(order ? { tensor: order } : {}) });
  }

  onKey(event) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const names = this.rows().filter((row) => row.name).map((row) => row.name);
    const at = names.indexOf(this.chosen);
    const next = event.key === "Home" ? 0 : event.key === "End" ? names.length - 1 : at + move;
    this.choose(names[Math.min(names.length - 1, Math.max(0, next))]);
  }

  onStepKey(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    this.goTo(this.step + move);
  }
}
