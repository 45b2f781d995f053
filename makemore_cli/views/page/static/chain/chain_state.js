"use strict";
// What the view of a chain shows: the reader's choices, which are in the address, and the passes that follow from them.

const CHAIN_KEYS = ["tensor", "pass", "step", "lines", "folded", "mistake", "change"];

class ChainState {
  constructor(chain) {
    this.chain = chain;
    this.inputs = inputsOf(chain);
    this.steps = record(...chain.steps.map((step) => ({ [step.name]: step })));
    const values = chainForward(chain, this.inputs);
    this.original = { values, pass: chainBackward(chain, values) };
    this.names = [...chain.inputs, ...chain.steps].map((one) => one.name).filter((name) => isTensor(values[name]));
    if (CHAIN_KEYS.every((key) => address.get(key) === null)) address.set(chain.start);
  }

  /** Read the choices from the address, which anybody may have edited, and run the passes. */
  update() {
    const { chain } = this;
    this.backward = address.get("pass") !== "forward";
    this.canFuse = this.backward && chain.layers.some((layer) => layer.fused);
    this.fused = this.canFuse && address.get("lines") === "fused";
    this.order = backwardSteps(chain, this.fused);
    this.hidden = skipped(chain, this.fused);
    this.folded = new Set((address.get("folded") ?? "").split(",").filter(Boolean).map(Number));
    this.last = this.backward ? this.order.length : chain.steps.length;
    const step = Number.parseInt(address.get("step") ?? "", 10);
    this.step = step >= 0 && step < this.last ? step : this.last;
    this.chosen = this.names.includes(address.get("tensor")) ? address.get("tensor") : chain.steps.at(-1).name;
    this.mistake = this.readMistake(address.get("mistake"));
    this.change = this.readChange(address.get("change"));
    this.compute();
  }

  /** A mistake as step~target~number. */
  readMistake(text) {
    const [step, target, number] = (text ?? "").split("~");
    const line = this.lines.find((one) => one.step === step && one.target === target);
    const isKnown = number === "none" || (/^\d+$/.test(number) && Number(number) < line?.mistakes.length);
    if (!line || !isKnown || !canBreak(this.chain, { step, target, number })) return null;
    return { step, target, number, line, wrong: number === "none" ? null : line.mistakes[number] };
  }

  /** A changed entry of an input as name~place~number. */
  readChange(text) {
    const [name, place, number] = (text ?? "").split("~");
    const input = this.chain.inputs.find((one) => one.name === name);
    const isEntry = input?.real && /^\d+$/.test(place) && Number(place) < this.inputs[name].data.length;
    if (!this.chain.live || !isEntry || !number || !Number.isFinite(Number(number))) return null;
    return { name, place: Number(place), number: Number(number) };
  }

  /** Run the passes, unless they are those of the state before. */
  compute() {
    const { change, fused, mistake } = this;
    const key = JSON.stringify([change, fused, mistake && [mistake.step, mistake.target, mistake.number]]);
    if (key === this.computed) return;
    this.computed = key;
    this.values = change
      ? chainForward(this.chain, record(this.inputs, { [change.name]: this.changed() }))
      : this.original.values;
    this.right = change || fused ? chainBackward(this.chain, this.values, { fused }) : this.original.pass;
    this.pass = mistake ? chainBackward(this.chain, this.values, { mistake, fused }) : this.right;
    this.verdict = mistake && verdictOn(mistake, this.right, this.pass);
  }

  /** The changed input. */
  changed() {
    const { name, place, number } = this.change;
    const { shape, data: numbers } = this.inputs[name];
    return tensor(shape, numbers.with(place, number));
  }

  /** The backward lines, in the order in which they run. */
  get lines() {
    return this.order.flatMap((step) => step.lines);
  }

  /** The name of the step that the pass has just run. */
  get present() {
    return this.backward ? this.order[this.step - 1]?.name : this.chain.steps[this.step - 1]?.name;
  }

  symbols(name) {
    return (this.steps[name] ?? this.chain.inputs.find((one) => one.name === name)).shape;
  }

  /** Whether a tensor's value is computed at this step. */
  isComputed(name) {
    if (this.backward || !(name in this.steps)) return true;
    return this.chain.steps.findIndex((step) => step.name === name) < this.step;
  }

  hasGradient(name) {
    return name in this.right.gradients && !this.hidden.has(name);
  }

  /** A tensor's gradient at this step; null if there is none yet. */
  gradient(name) {
    if (!this.backward || !this.hasGradient(name)) return null;
    const isWhole = Object.hasOwn(this.chain.above, name) || this.step === this.last;
    return isWhole ? (this.pass.gradients[name] ?? null) : gradientSoFar(this.pass, name, this.step);
  }

  /** Whether all uses of a tensor have passed their part of its gradient back. */
  isComplete(name) {
    return this.order.every(
      (step, order) => order < this.step || step.lines.every((line) => line.target !== `d${name}`),
    );
  }

  /** Whether a gradient is zero but for rounding. */
  isRounding(name) {
    return largestOf(this.pass.gradients[name] ?? tensor([0])) <= noiseOf(name, [this.pass]);
  }

  /** What an entry belongs to: which example, character or unit. */
  describe(name, index) {
    const symbols = this.symbols(name);
    if (!symbols || symbols.length !== index.length) return "";
    const texts = symbols.map((symbol, dim) => {
      const label = Object.hasOwn(this.chain.labels, symbol) ? this.chain.labels[symbol][index[dim]] : undefined;
      return `${symbol} = ${index[dim]}${label === undefined ? "" : ` (${label})`}`;
    });
    return texts.filter((_, dim) => symbols[dim] !== "1").join(", ");
  }
}

/** An entry of a tensor as text, such as W1[3, 7]. */
function entryOf(name, shape, place) {
  const index = indexOf(shape, place);
  return index.length > 0 ? `${name}[${index.join(", ")}]` : name;
}
