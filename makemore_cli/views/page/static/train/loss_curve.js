"use strict";
// The curve of one training run: its losses, its settings and how they changed, and its name in the plot.

const MOST_POINTS = 400; // of a curve; beyond, neighbours are merged
const SHOWN_CHANGES = 3; // of a setting
const LOG_RATIO = 10; // of the highest and the lowest loss, above which the scale is logarithmic
const LEAST = 1e-6; // on a logarithmic scale
const NEAR = 2; // times the present run's highest loss: what earlier curves have above that is cut off

class LossCurve {
  /** @param {number} number of the run, from 1 */
  constructor(number, label, settings, colour) {
    Object.assign(this, { number, label, colour });
    this.points = []; // {step, mean, count}
    this.marks = []; // {step, loss}: validation losses
    this.settings = []; // {step, learningRate, batchSize}, each from a step on
    this.set(0, settings);
  }

  /** Add the losses of the steps up to `step`. */
  add(step, losses) {
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    this.points.push({ step, mean, count: losses.length });
    if (this.points.length > MOST_POINTS) this.points = pairwise(this.points, merged);
  }

  /** Mark the validation loss after `step` steps. */
  mark(step, loss) {
    if (this.marks.at(-1)?.step === step) return;
    this.marks.push({ step, loss });
    if (this.marks.length > MOST_POINTS / 10) this.marks = pairwise(this.marks, (_, later) => later);
  }

  /** The settings from a step on. */
  set(step, { learningRate, batchSize }) {
    this.settings = this.settings.filter((earlier) => earlier.step < step);
    const last = this.settings.at(-1);
    if (last?.learningRate === learningRate && last.batchSize === batchSize) return;
    this.settings.push({ step, learningRate, batchSize });
  }

  get name() {
    const rates = valuesInTime(this.settings.map(({ step, learningRate }) => [step, rateText(learningRate)]));
    const sizes = valuesInTime(this.settings.map(({ step, batchSize }) => [step, String(batchSize)]));
    return `${this.number}: ${this.label}, rate ${rates}, batch size ${sizes}`;
  }

  get losses() {
    return [...this.points.map(({ mean }) => mean), ...this.marks.map(({ loss }) => loss)].filter(Number.isFinite);
  }
}

/** A setting's values [step, text] in a sentence: each with the step from which on it holds. */
function valuesInTime(pairs) {
  const changes = pairs.filter(([, text], k) => k === 0 || text !== pairs[k - 1][1]);
  const [first, ...later] = changes.map(([step, text], k) =>
    k === 0 ? text : `${text} from step ${grouped(step)}`,
  );
  return [first, ...(later.length > SHOWN_CHANGES ? ["…", later.at(-1)] : later)].join(", then ");
}

/**
 * The range of the plot: it holds the present run, and of earlier ones what is not far above it.
 * @param {LossCurve[]} curves the present run's is the last one
 * @returns {{range: [number, number], logarithmic: boolean}}
 */
function rangeOfLosses(curves) {
  const present = curves.findLast(({ losses }) => losses.length > 0)?.losses ?? [1, 4];
  const limit = NEAR * Math.max(...present);
  const losses = [...present, ...curves.flatMap((curve) => curve.losses.filter((loss) => loss <= limit))];
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const least = Math.max(low, LEAST);
  if (high > LOG_RATIO * least) return { range: [least / 1.1, high * 1.1], logarithmic: true };
  const lowest = Math.min(low, high - 0.5);
  return { range: [Math.max(0, lowest - 0.1 * (high - lowest)), high + 0.05 * (high - lowest)], logarithmic: false };
}

/** Each item with the one after it, as one. */
function pairwise(items, merge) {
  return items
    .filter((_, k) => k % 2 === 0)
    .map((item, k) => (2 * k + 1 < items.length ? merge(item, items[2 * k + 1]) : item));
}

function merged(one, other) {
  const count = one.count + other.count;
  return { step: other.step, mean: (one.mean * one.count + other.mean * other.count) / count, count };
}
