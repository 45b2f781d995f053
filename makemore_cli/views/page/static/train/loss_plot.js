"use strict";
// The losses of the present training run and of earlier ones, in one plot.

const MOST_CURVES = 6;
const CURVE_COLOURS = ["accent", "second", "right", "third", "wrong", "inherited"]; // variables of the style sheet
const LOSS_HEIGHT = 340;
const ABOVE = 8; // half the width of the mark of a curve that is cut off
const BELOW = 4; // room for a dot at the lowest loss

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

  get present() {
    return this.curves.at(-1);
  }

  /** Begin the curve of a new run. A run without any step leaves none. */
  begin(label, settings) {
    const number = this.curves.length === 0 ? 1 : this.present.number + (this.present.points.length > 0);
    this.curves = this.curves.filter((curve) => curve.points.length > 0).slice(-(MOST_CURVES - 1));
    const used = this.curves.map((curve) => curve.colour);
    this.curves.push(new LossCurve(number, label, settings, CURVE_COLOURS.find((name) => !used.includes(name))));
    this.change();
  }

  /** Keep the present curve alone. */
  clear() {
    this.curves = this.curves.slice(-1);
    this.change();
  }

  /** Add the losses of the steps up to `step`. */
  add(step, losses) {
    this.present.add(step, losses);
    this.change();
  }

  /** Mark the validation loss after `step` steps. */
  mark(step, loss) {
    this.present.mark(step, loss);
    this.change();
  }

  /** The settings of the present run from a step on. */
  set(step, settings) {
    this.present.set(step, settings);
    this.change();
  }

  /** Draw again with the next frame, once for all changes until then. */
  change() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.redraw();
      const { range: [, highest] } = rangeOfLosses(this.curves);
      this.legend.replaceChildren(...this.curves.map((curve) => this.legendOf(curve, highest)));
    });
  }

  legendOf(curve, highest) {
    const present = curve === this.present;
    const swatch = draw(
      "svg",
      { width: 28, height: 12, "aria-hidden": "true" },
      draw("line", { x1: 0, x2: 28, y1: 6, y2: 6, ...strokeOf(curve, present) }),
      draw("circle", { cx: 14, cy: 6, r: 3.5, fill: `var(--${curve.colour})` }),
    );
    const cut = curve.points.some(({ mean }) => !(mean <= highest)) ? " (▲ partly above the plot)" : null;
    return make("li", {}, swatch, present ? make("strong", {}, curve.name) : curve.name, cut);
  }

  drawn(width) {
    const { range, logarithmic } = rangeOfLosses(this.curves);
    const last = Math.max(10, ...this.curves.flatMap(({ points }) => points.at(-1)?.step ?? 0));
    const axis = axes({
      width,
      height: LOSS_HEIGHT,
      x: [0, last],
      y: range,
      logarithmic,
      xLabel: "training steps",
      yLabel: logarithmic ? "loss in nats per character (log scale)" : "loss in nats per character",
      title: "Loss of each training run: a line for batches, dots for validation",
    });
    const inside = draw("g", { "clip-path": "url(#loss-plot-area)" });
    const area = { x: 0, y: axis.area.y, width, height: axis.area.height + BELOW };
    axis.svg.append(draw("clipPath", { id: "loss-plot-area" }, draw("rect", area)), inside);
    for (const curve of this.curves) inside.append(...curveIn(axis, curve, range, curve === this.present));
    return axis.svg;
  }
}

/** A curve: its line, its validation losses, the steps at which settings changed, and a mark where it is cut off. */
function curveIn(axis, curve, [lowest, highest], present) {
  const { points, marks, settings, colour } = curve;
  const place = (loss) => (loss < 10 * highest ? Math.max(loss, lowest) : 10 * highest); // even if it is not finite
  const line = points.map(({ step, mean }) => [step, place(mean)]);
  if (line.length === 1) line.push([line[0][0] + 1, line[0][1]]);
  const dots = marks.map(({ step, loss }) =>
    draw("circle", {
      cx: axis.x(step),
      cy: axis.y(place(loss)),
      r: present ? 3.5 : 2.5,
      fill: `var(--${colour})`,
      opacity: present ? 1 : 0.6,
    }),
  );
  const { y: top, height } = axis.area;
  const changes = settings.slice(1).map(({ step }) => {
    const ends = { x1: axis.x(step), x2: axis.x(step), y1: top, y2: top + height };
    return draw("line", { ...ends, ...strokeOf(curve, present), "stroke-dasharray": "3 4", "stroke-width": 1 });
  });
  const cut = line.find(([, loss]) => loss > highest);
  const tip = (x) => `M${x - ABOVE} ${top + ABOVE}h${2 * ABOVE}l${-ABOVE} ${-ABOVE}z`;
  const mark = cut ? [draw("path", { d: tip(axis.x(cut[0])), fill: `var(--${colour})` })] : [];
  return [...changes, linePath(axis, line, strokeOf(curve, present)), ...dots, ...mark];
}

function strokeOf({ colour }, present) {
  return { stroke: `var(--${colour})`, "stroke-width": present ? 2 : 1.5, opacity: present ? 0.65 : 0.4 };
}
