"use strict";
// The losses of the present training run and of earlier ones, in one plot.

const MOST_POINTS = 400; // of a curve; beyond, neighbours are merged
const MOST_CURVES = 6;
const CURVE_COLOURS = ["accent", "second", "right", "third", "wrong", "inherited"]; // variables of the style sheet
const LOSS_HEIGHT = 340;

class LossPlot {
  constructor() {
    this.curves = [];
    this.element = make("div", { class: "train-plot" });
    this.legend = make("ul", { class: "train-legend", "aria-label": "Curves in the plot" });
    this.redraw = drawnToWidth(this.element, (width) => this.drawn(width));
    this.due = false;
  }

  get svg() {
    return this.element.querySelector("svg");
  }

  /** Begin the curve of a new run. A run without any step leaves none. */
  begin(label) {
    this.curves = this.curves.filter((curve) => curve.points.length > 0).slice(-(MOST_CURVES - 1));
    const used = this.curves.map((curve) => curve.colour);
    this.curves.push({ label, points: [], marks: [], colour: CURVE_COLOURS.find((name) => !used.includes(name)) });
    this.change();
  }

  /** Keep the present curve alone. */
  clear() {
    this.curves = this.curves.slice(-1);
    this.change();
  }

  /** Add the losses of the steps up to `step`. */
  add(step, losses) {
    const curve = this.curves.at(-1);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    curve.points.push({ step, mean, count: losses.length });
    if (curve.points.length > MOST_POINTS) curve.points = pairwise(curve.points, merged);
    this.change();
  }

  /** Mark the validation loss after `step` steps. */
  mark(step, loss) {
    const curve = this.curves.at(-1);
    if (curve.marks.at(-1)?.step === step) return;
    curve.marks.push({ step, loss });
    if (curve.marks.length > MOST_POINTS / 10) curve.marks = pairwise(curve.marks, (_, later) => later);
    this.change();
  }

  /** Draw again with the next frame, once for all changes until then. */
  change() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.redraw();
      this.legend.replaceChildren(...this.curves.map((curve, place) => this.legendOf(curve, place)));
    });
  }

  legendOf({ label, colour }, place) {
    const present = place === this.curves.length - 1;
    const swatch = draw(
      "svg",
      { width: 28, height: 12, "aria-hidden": "true" },
      draw("line", { x1: 0, x2: 28, y1: 6, y2: 6, ...strokeOf(colour, present) }),
      draw("circle", { cx: 14, cy: 6, r: 3.5, fill: `var(--${colour})` }),
    );
    return make("li", {}, swatch, present ? make("strong", {}, label) : label);
  }

  drawn(width) {
    const { curves } = this;
    const losses = curves
      .flatMap(({ points, marks }) => [...points.map((p) => p.mean), ...marks.map((m) => m.loss)])
      .filter(Number.isFinite);
    const firsts = curves.flatMap(({ points, marks }) => [points[0]?.mean, marks[0]?.loss]).filter(Number.isFinite);
    const highest = firsts.length ? 1.1 * Math.max(...firsts) : 4; // beyond, a run has failed
    const lowest = Math.min(...losses, highest - 0.5);
    const last = Math.max(10, ...curves.flatMap(({ points }) => points.at(-1)?.step ?? 0));
    const range = [Math.max(0, lowest - 0.1 * (highest - lowest)), highest];
    const axis = axes({
      width,
      height: LOSS_HEIGHT,
      x: [0, last],
      y: range,
      xLabel: "training steps",
      yLabel: "loss in nats per character",
      title: "Loss of each training run: a line for batches, dots for validation",
    });
    const inside = (loss) => (loss < highest ? loss : highest);
    curves.forEach(({ points, marks, colour }, place) => {
      const present = place === curves.length - 1;
      const line = points.map(({ step, mean }) => [step, inside(mean)]);
      if (line.length === 1) line.push([line[0][0] + last / 200, line[0][1]]);
      axis.svg.append(linePath(axis, line, strokeOf(colour, present)));
      for (const { step, loss } of marks) {
        axis.svg.append(
          draw("circle", {
            cx: axis.x(step),
            cy: axis.y(inside(loss)),
            r: present ? 3.5 : 2.5,
            fill: `var(--${colour})`,
            opacity: present ? 1 : 0.6,
          }),
        );
      }
    });
    return axis.svg;
  }
}

function strokeOf(colour, present) {
  return { stroke: `var(--${colour})`, "stroke-width": present ? 2 : 1.5, opacity: present ? 0.65 : 0.4 };
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
