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
    this.graph = new ChainGraph(
      this.state,
      (tensor) => this.set({ tensor }),
      (layers) => this.set({ folded: [...layers].join(",") }),
    );
    this.detail = new TensorDetail(this.state, (changes, live) => this.set(changes, live));
    if (!section.closest(".single"))
      section.append(make("h2", {}, chain.title), make("p", { class: "quiet" }, chain.about));
    section.append(
      this.bar,
      this.verdict,
      make("div", { class: "chain-columns" }, this.graph.element, this.detail.element),
      chainLegend(chain),
      agreementWithPyTorch(this.state),
    );
    section.addEventListener("keydown", (event) => this.onKey(event));
    address.onChange(() => this.show());
    onTheme(() => this.show());
    this.show();
  }

  /** Change the state. While a slider moves (`live`), its panel stays. */
  set(changes, live = false) {
    const isChoice =
      ["tensor", "mistake", "change"].some((key) => key in changes) && !("step" in changes && changes.tensor);
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
    const found =
      control === "tensor"
        ? document.getElementById(`tensor-${this.state.chosen}`)
        : [...this.section.querySelectorAll("[data-control]")].find(
            (one) => one.dataset.control === control && !one.disabled,
          );
    (found ?? this.bar.querySelector("button.step:not(:disabled)") ?? this.bar.querySelector("button"))?.focus();
  }

  // --- The bar ---

  showBar() {
    const { state } = this;
    const choice = (text, changes, pressed) =>
      button(text, () => this.set({ ...changes, step: null }), { "aria-pressed": pressed, "data-control": text });
    const go = (text, step, label) =>
      button(text, () => this.goTo(step), {
        class: "step",
        "aria-label": label,
        "data-control": label,
        disabled: step < 0 || step > state.last || step === state.step,
      });
    const group = (...children) => make("span", { class: "group" }, ...children);
    this.bar.replaceChildren(
      group(
        choice("Forward", { pass: "forward" }, !state.backward),
        choice("Backward", { pass: null }, state.backward),
      ),
      group(
        go("«", 0, "To the start of the pass"),
        go("‹", state.step - 1, "A step back"),
        make("span", { class: "count" }, `step ${state.step} of ${state.last}`),
        go("›", state.step + 1, "A step forward"),
        go("»", state.last, "To the end of the pass"),
      ),
      ...(state.canFuse
        ? [
            group(
              choice("Line by line", { lines: null }, !state.fused),
              choice("Fused", { lines: "fused" }, state.fused),
            ),
          ]
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
      return make(
        "span",
        {},
        make("b", {}, name),
        ` = ${shown(now)}${now === before ? "" : ` (was ${shown(before)})`}`,
      );
    });
  }

  // --- What a mistake or a change does ---

  showVerdict() {
    const { state } = this;
    const lines = [...(state.verdict ? mistakeTexts(state) : []), ...(state.change ? [changeText(state)] : [])];
    this.verdict.replaceChildren(...lines);
    this.verdict.classList.toggle("card", lines.length > 0);
    this.verdict.classList.toggle("is-wrong", Boolean(state.verdict));
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
