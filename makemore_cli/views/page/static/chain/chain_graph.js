"use strict";
// The graph of a chain: a row for each tensor, grouped by layer, and arcs from each tensor to the lines that read it.

const ROW = 30; // CSS pixels: the height of a row
const GUTTER = 52; // CSS pixels, for the arcs beside the rows
const THUMBNAIL = { widest: 64, tallest: 16 }; // entries of the heat map in a row

class ChainGraph {
  /**
   * @param {ChainState} state
   * @param {(name: string) => void} onChoose is called when a tensor is chosen
   * @param {(layers: Set<number>) => void} onFold is called when a layer is folded or unfolded
   */
  constructor(state, onChoose, onFold) {
    Object.assign(this, { state, onChoose, onFold });
    this.element = make("div", { class: "chain-list", role: "group", "aria-label": "Tensors of the chain" });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
  }

  draw() {
    const rows = this.rows();
    const places = record(...rows.map((row, at) => ({ [row.heading ? `layer ${row.layer}` : row.name]: at })));
    this.element.replaceChildren(
      this.arcs(rows.length, places),
      ...rows.map((row) => (row.heading ? this.headingRow(row) : this.tensorRow(row.name))),
    );
  }

  /** Show the chosen tensor in the list, without moving the page. */
  reveal() {
    const row = document.getElementById(`tensor-${this.state.chosen}`);
    if (!row) return;
    const { offsetTop } = row;
    const { scrollTop, clientHeight } = this.element;
    if (offsetTop >= scrollTop && offsetTop + ROW <= scrollTop + clientHeight) return;
    this.element.scrollTop = ROW * Math.max(0, Math.floor((offsetTop - clientHeight / 2) / ROW));
  }

  /** Layers, and tensors, each input before the first step that reads it. */
  rows() {
    const { chain, hidden, folded, names, steps } = this.state;
    const rows = [];
    const placed = new Set();
    for (const step of chain.steps) {
      const layer = this.layerOf(step.name);
      if (layer >= 0 && chain.layers[layer].steps[0] === step.name)
        rows.push({ heading: chain.layers[layer].name, layer });
      const inputs = step.forward.reads.filter((name) => !(name in steps) && !placed.has(name));
      for (const name of [...inputs, step.name].filter((one) => names.includes(one) && !hidden.has(one))) {
        placed.add(name);
        rows.push({ name, layer });
      }
    }
    return rows.filter((row) => row.heading || !folded.has(row.layer));
  }

  /** The number of the layer of a step, or of the first step that reads an input; -1 if there is none. */
  layerOf(name) {
    const { chain, steps } = this.state;
    const step = name in steps ? name : chain.steps.find((one) => one.forward.reads.includes(name))?.name;
    return chain.layers.findIndex((layer) => layer.steps.includes(step));
  }

  headingRow({ heading, layer }) {
    const { chain, folded, present } = this.state;
    const isFolded = folded.has(layer);
    const toggle = () => {
      const layers = new Set(folded);
      if (!layers.delete(layer)) layers.add(layer);
      this.onFold(layers);
    };
    const { length } = chain.layers[layer].steps;
    const counted = length === 1 ? "1 tensor" : `${length} tensors`;
    const isPresent = isFolded && chain.layers[layer].steps.includes(present);
    return make(
      "button",
      {
        type: "button",
        class: `chain-row heading${isPresent ? " present" : ""}`,
        onclick: toggle,
        "aria-expanded": !isFolded,
        "data-control": `layer ${layer}`,
      },
      make("span", { "aria-hidden": true }, isFolded ? "▸" : "▾"),
      make("span", { class: "name" }, heading),
      isFolded ? make("span", { class: "quiet" }, counted) : null,
    );
  }

  tensorRow(name) {
    const { state } = this;
    const isChosen = name === state.chosen;
    const isGradient = state.backward && state.hasGradient(name);
    const mark = this.markOf(name);
    return make(
      "button",
      {
        type: "button",
        class: `chain-row${isChosen ? " chosen" : ""}${name === state.present ? " present" : ""}`,
        id: `tensor-${name}`,
        "data-control": "tensor",
        "aria-current": isChosen,
        tabindex: isChosen ? 0 : -1,
        onclick: () => this.onChoose(name),
      },
      make("span", { class: "code name" }, isGradient ? `d${name}` : name),
      make("span", { class: "quiet shape" }, state.values[name].shape.join("×") || "1"),
      state.backward && !isGradient ? make("span", { class: "quiet" }, "no gradient") : this.thumbnail(name),
      make("span", { class: `mark ${mark.kind}` }, mark.text),
    );
  }

  /** What a row says of its tensor: wrong, inherited, incomplete, or how far a change has moved it. */
  markOf(name) {
    const { state } = this;
    const gradient = state.gradient(name);
    if (gradient && state.verdict?.wrong.has(name)) {
      return name === state.verdict.named
        ? { kind: "wrong", text: "✗ wrong" }
        : { kind: "inherited", text: "↳ inherited" };
    }
    if (gradient && !state.isComplete(name)) return { kind: "quiet", text: "so far" };
    if (state.change && !state.backward && state.isComputed(name)) {
      const by = distance(state.values[name], state.original.values[name]);
      if (by > 0) return { kind: "inherited", text: `Δ ${shown(by)}` };
    }
    return { kind: "", text: "" };
  }

  thumbnail(name) {
    const { state } = this;
    const x = state.backward ? state.gradient(name) : state.isComputed(name) ? state.values[name] : null;
    const canvas = make("canvas", { class: `thumbnail${x ? "" : " empty"}`, "aria-hidden": true });
    if (x)
      paint(canvas, x, { ...THUMBNAIL, scale: state.backward && state.isRounding(name) ? Infinity : largestOf(x) });
    return canvas;
  }

  /** An arc from each tensor to each step that reads it; in the backward pass, back to each that gets a gradient. */
  arcs(count, places) {
    const { state } = this;
    const svg = draw("svg", { class: "arcs", width: GUTTER, height: count * ROW, "aria-hidden": true });
    const placeOf = (name) => places[name] ?? places[`layer ${this.layerOf(name)}`];
    for (const step of state.chain.steps) {
      for (const name of new Set(step.forward.reads.filter((one) => state.names.includes(one)))) {
        if (state.backward && !(name in state.right.gradients)) continue;
        const [from, to] = [placeOf(name), placeOf(step.name)];
        if (from === undefined || to === undefined || from === to) continue;
        const near = name === state.chosen || step.name === state.chosen;
        svg[near ? "append" : "prepend"](state.backward ? this.arc(to, from, near) : this.arc(from, to, near));
      }
    }
    return svg;
  }

  arc(from, to, near) {
    const [y1, y2] = [from, to].map((place) => place * ROW + ROW / 2);
    const x = GUTTER - 8;
    const bulge = Math.min(1.3 * x, 12 + 6 * Math.abs(to - from));
    const tip = y2 + (y2 > y1 ? -3 : 3);
    return draw(
      "g",
      { class: near ? "near" : "" },
      draw("path", { d: `M${x} ${y1} C${x - bulge} ${y1}, ${x - bulge} ${tip}, ${x} ${tip}`, fill: "none" }),
      draw("path", { class: "tip", d: `M${x + 5} ${tip} l-7 -4 v8 z` }),
    );
  }

  onKey(event) {
    const names = this.rows()
      .filter((row) => row.name)
      .map((row) => row.name);
    const at = names.indexOf(this.state.chosen);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.onChoose(names[Math.min(names.length - 1, Math.max(0, next))]);
    document.getElementById(`tensor-${this.state.chosen}`)?.focus();
  }
}
