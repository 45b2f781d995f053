"use strict";
// The view of a chain: its graph, the chosen tensor, and controls for the passes.

function chainView(section, { chain }) {
  try {
    new ChainView(section, chain);
  } catch (error) {
    if (!(error instanceof LineError)) throw error;
    section.replaceChildren(make("p", { class: "wrong" }, `This chain can't be shown: ${error.message}.`));
  }
}

class ChainView {
  constructor(section, chain) {
    this.section = section;
    this.state = new ChainState(chain);
    this.bar = make("div", { class: "row chain-bar", role: "group", "aria-label": "Passes and steps" });
    this.verdict = make("div", { class: "chain-verdict", "aria-live": "polite" });
    this.graph = new ChainGraph(this.state, (tensor) => this.set({ tensor }),
      (layers) => this.set({ folded: [...layers].join(",") }));
    this.detail = new TensorDetail(this.state, (changes, live) => this.set(changes, live));
    if (!section.closest(".single")) section.append(make("h2", {}, chain.title), make("p", { class: "quiet" }, chain.about));
    section.append(this.bar, this.verdict,
      make("div", { class: "chain-columns" }, this.graph.element, this.detail.element), this.legend(), this.proof());
    section.addEventListener("keydown", (event) => this.onKey(event));
    address.onChange(() => this.show());
    onTheme(() => this.show());
    this.show();
  }

  /** Change the state. While a slider moves (`live`), its panel stays. */
  set(changes, live = false) {
    const isChoice = ["tensor", "mistake", "change"].some((key) => key in changes) && !("step" in changes && changes.tensor);
    address.set(changes, { entry: isChoice && !live });
    this.show(live);
  }

  show(live = false) {
    const focused = this.section.contains(document.activeElement) ? document.activeElement.dataset.control : null;
    this.state.update();
    this.showBar();
    this.showVerdict();
    this.graph.draw();
    if (!live) this.detail.draw();
    this.graph.reveal();
    if (focused && !live) this.focus(focused);
  }

  /** Give the focus back to the control that had it; if it is gone or disabled, to one nearby. */
  focus(control) {
    const found = control === "tensor"
      ? document.getElementById(`tensor-${this.state.chosen}`)
      : [...this.section.querySelectorAll("[data-control]")].find((one) => one.dataset.control === control && !one.disabled);
    (found ?? this.bar.querySelector("button.step:not(:disabled)") ?? this.bar.querySelector("button"))?.focus();
  }

  // --- The bar ---

  showBar() {
    const { state } = this;
    const choice = (text, changes, pressed) =>
      button(text, () => this.set({ ...changes, step: null }), { "aria-pressed": pressed, "data-control": text });
    const go = (text, step, label) =>
      button(text, () => this.goTo(step), {
        class: "step", "aria-label": label, "data-control": label, disabled: step < 0 || step > state.last || step === state.step,
      });
    const group = (...children) => make("span", { class: "group" }, ...children);
    this.bar.replaceChildren(
      group(choice("Forward", { pass: "forward" }, !state.backward), choice("Backward", { pass: null }, state.backward)),
      group(go("«", 0, "To the start of the pass"), go("‹", state.step - 1, "A step back"),
        make("span", { class: "count" }, `step ${state.step} of ${state.last}`),
        go("›", state.step + 1, "A step forward"), go("»", state.last, "To the end of the pass")),
      ...(state.canFuse
        ? [group(choice("Line by line", { lines: null }, !state.fused), choice("Fused", { lines: "fused" }, state.fused))]
        : []),
      ...this.outputs(),
      ...(state.mistake || state.change
        ? [button("Undo", () => this.set({ mistake: null, change: null }), { "data-control": "Undo" })]
        : []),
    );
  }

  /** The outputs that are single numbers, such as the loss. */
  outputs() {
    const { state } = this;
    const single = state.chain.outputs.filter((name) => state.values[name].data.length === 1 && state.isComputed(name));
    return single.map((name) => {
      const [now, before] = [state.values, state.original.values].map((values) => values[name].data[0]);
      return make("span", {}, make("b", {}, name), ` = ${shown(now)}${now === before ? "" : ` (was ${shown(before)})`}`);
    });
  }

  // --- What a mistake or a change does ---

  showVerdict() {
    const { state } = this;
    const lines = [...(state.verdict ? this.explainMistake() : []), ...(state.change ? [this.explainChange()] : [])];
    this.verdict.replaceChildren(...lines);
    this.verdict.classList.toggle("card", lines.length > 0);
    this.verdict.classList.toggle("is-wrong", Boolean(state.verdict));
  }

  explainMistake() {
    const { mistake, verdict, pass } = this.state;
    const words = mistake.wrong ? mistake.wrong.words : "the line is left out";
    const lines = [
      make("p", {}, make("b", { class: "wrong" }, "Broken: "), make("code", {}, mistake.target), ` in the step ${mistake.step}: ${words}.`),
      make("p", {}, this.shapeMatters() ?? this.consequences()),
    ];
    if (pass.stopped) lines.push(make("p", { class: "wrong" }, `The backward pass stops: ${pass.stopped}.`));
    return verdict.wrong.size === 0 || pass.stopped ? lines : [...lines, this.gradcheckSays()];
  }

  consequences() {
    const { named, wrong } = this.state.verdict;
    if (wrong.size === 0) {
      return `The mistake is invisible at these numbers: the line adds nothing here, right or wrong. Gradcheck tests each line alone with a random gradient, and names d${named}.`;
    }
    const inherited = [...wrong].filter((name) => name !== named).map((name) => `d${name}`);
    if (inherited.length === 0) return "No other gradient is computed from it, so no other one is wrong.";
    const few = inherited.length === 1 ? "One gradient that is computed from it is" : `${inherited.length} gradients that are computed from it are`;
    const how = this.state.pass.stopped ? "wrong or missing" : "wrong too";
    return `${few} ${how}, although the lines are right: ${inherited.join(", ")}.`;
  }

  /** If the line's result has another shape than its tensor: what += makes of it. */
  shapeMatters() {
    const { mistake, pass, verdict, values } = this.state;
    const part = pass.parts[verdict.named]?.find((one) => one.step === mistake.step);
    const shape = values[verdict.named].shape;
    if (!part || String(part.value.shape) === String(shape)) return null;
    const [ours, right] = [part.value.shape, shape].map((sizes) => sizes.join("×") || "a number");
    if (verdict.wrong.size > 0) return `The line's result is ${ours} instead of ${right}. ${this.consequences()}`;
    return `The line's result is ${ours} instead of ${right}, but += broadcasts it, so no number is wrong here. Gradcheck tests each line alone, and names d${verdict.named}.`;
  }

  gradcheckSays() {
    return make("p", { class: "quiet" }, `Gradcheck tests each backward line alone, so it names only d${this.state.verdict.named}.`);
  }

  /** What a changed weight does to the output, beside what its gradient predicts. */
  explainChange() {
    const { change, chain, inputs, values, original } = this.state;
    const { name, place, number } = change;
    const before = inputs[name].data[place];
    const moved = chain.steps.filter((step) => distance(values[step.name], original.values[step.name]) > 0);
    const text = [`${entryOf(name, inputs[name].shape, place)} is ${shown(number)} instead of ${shown(before)}. `,
      `${moved.length} of ${chain.steps.length} tensors of the forward pass change. `];
    const gradient = original.pass.gradients[name];
    if (!gradient) return make("p", {}, ...text);
    const isLoss = chain.outputs.length === 1 && values[chain.outputs[0]].data.length === 1 && decoded(chain.above[chain.outputs[0]]).data[0] === 1;
    const what = isLoss ? `the ${chain.outputs[0]}` : "all outputs together, each number times its gradient from above,";
    const actual = chain.outputs.reduce((sum, one) => {
      const above = decoded(chain.above[one]).data;
      return sum + above.reduce((all, weight, at) => all + weight * (values[one].data[at] - original.values[one].data[at]), 0);
    }, 0);
    text.push(`Its gradient predicts a change of ${what} by ${shown(gradient.data[place] * (number - before))}; the change is ${shown(actual)}.`);
    return make("p", {}, ...text);
  }

  // --- Below ---

  legend() {
    const { chain } = this.state;
    const items = [
      ...(chain.legend ? [`Shapes: ${chain.legend}.`] : []),
      "Arrow keys: up and down choose a tensor, left and right take a step. The step just taken is underlined.",
      "Heat maps: orange is positive, blue negative, and the strongest colour is the number at the ±. Pink is not a finite number. The first index is the row.",
      "d before a name is the gradient of the loss with respect to that tensor. “So far”: some lines have not added their part yet.",
      ...(chain.layers.some((layer) => layer.fused)
        ? ["Line by line is the pass that gradcheck checks. Fused is the pass that trains: one expression for a whole layer."]
        : []),
      "One line can be broken at a time; breaking another one repairs the first.",
      "Gradcheck (makemore gradcheck) compares each backward line with autograd by itself, so that it names the wrong line and not those that inherit its error.",
    ];
    return make("details", { class: "legend" }, make("summary", {}, "How to read this page"), make("ul", {}, items.map((item) => make("li", {}, item))));
  }

  /** Whether the page's own numbers are those that PyTorch computed when the page was written. */
  proof() {
    const { chain, original } = this.state;
    const passes = [original.pass, ...(chain.live ? [chainBackward(chain, original.values, { fused: true })] : [])];
    const stopped = passes.map((pass) => pass.stopped).find(Boolean);
    const other = notAsPyTorch(chain, original.values, passes);
    const count = Object.keys(chain.fingerprints).length;
    const lines = [];
    if (stopped) lines.push(["wrong", `The page can't run the line for ${stopped}.`]);
    if (other.length > 0) lines.push(["wrong", `The page's numbers differ from those that PyTorch computed when the page was written: ${other.join(", ")}.`]);
    else lines.push(["quiet", `Unbroken and unchanged, all ${count} values and gradients agree with those that PyTorch computed when this page was written.`]);
    if (chain.wrong.length > 0) {
      lines.push(["wrong", `The chain's lines disagree with autograd in ${chain.wrong.map((name) => `d${name}`).join(", ")}. Gradcheck says which line is wrong.`]);
    } else lines.push(["quiet", "The chain's lines agree with autograd."]);
    return make("div", { class: "proof" }, lines.map(([kind, text]) => make("p", { class: kind }, text)));
  }

  // --- Steps ---

  goTo(step) {
    const { last, backward, order, chain } = this.state;
    const to = Math.min(last, Math.max(0, step));
    const tensor = backward ? (order[to - 1]?.name ?? chain.outputs[0]) : chain.steps[to - 1]?.name;
    this.set({ step: to === last ? null : to, ...(tensor ? { tensor } : {}) });
  }

  onKey(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (!move || event.ctrlKey || event.altKey || event.metaKey || isTyping) return;
    event.preventDefault();
    this.goTo(this.state.step + move);
  }
}
