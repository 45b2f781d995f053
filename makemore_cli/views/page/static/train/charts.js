"use strict";
// Charts as SVG elements. Their text is as large as the page's, since they are drawn as wide as they are shown.

const CHART_MARGIN = { top: 10, right: 14, bottom: 44, left: 58 };

/** Round numbers between two numbers, about `count` of them, for the ticks of an axis. */
function ticks(low, high, count = 5) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

/** Round numbers between two positive numbers, for the ticks of a logarithmic axis. */
function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, k) => first + k);
  const round = powers.flatMap((power) => [1, 2, 5].map((factor) => Number(`${factor}e${power}`)));
  return round.filter((value) => value >= low && value <= high);
}

/**
 * Axes and grid of a chart: its SVG element, and the functions that turn values into places in it.
 *
 * @param {{width: number, height: number, x: [number, number], y: [number, number], xLabel: string, yLabel: string,
 *   title: string, logarithmic?: boolean, format?: (value: number) => string}} options
 */
function axes({
  width,
  height,
  x: [x0, x1],
  y: [y0, y1],
  xLabel,
  yLabel,
  title,
  logarithmic = false,
  format = (v) => v.toLocaleString("en", { maximumSignificantDigits: 6 }),
}) {
  const { top, right, bottom, left } = CHART_MARGIN;
  const x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
  const scale = logarithmic ? Math.log : (value) => value;
  const share = (value) => (scale(value) - scale(y0)) / (scale(y1) - scale(y0));
  const y = (value) => height - bottom - share(value) * (height - top - bottom);
  const svg = chartFrame(width, height, title);
  const line = (from, to) => draw("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: "chart-grid" });
  for (const value of logarithmic ? logTicks(y0, y1) : ticks(y0, y1)) {
    const label = draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, format(value));
    svg.append(line([left, y(value)], [width - right, y(value)]), label);
  }
  for (const value of ticks(x0, x1, Math.max(2, Math.floor(width / 130)))) {
    const anchor = x(value) > width - 40 ? "end" : "middle";
    const label = draw("text", { x: x(value), y: height - bottom + 18, "text-anchor": anchor }, format(value));
    svg.append(line([x(value), top], [x(value), height - bottom]), label);
  }
  const middle = (height - bottom + top) / 2;
  svg.append(
    draw(
      "text",
      { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "chart-label" },
      xLabel,
    ),
    draw(
      "text",
      { x: 14, y: middle, transform: `rotate(-90 14 ${middle})`, "text-anchor": "middle", class: "chart-label" },
      yLabel,
    ),
  );
  return { svg, x, y, area: { x: left, y: top, width: width - left - right, height: height - top - bottom } };
}

/** An empty picture with a title for screen readers. */
function chartFrame(width, height, title) {
  const viewBox = `0 0 ${width} ${height}`;
  return draw("svg", { viewBox, width, height, role: "img", "aria-label": title, class: "chart" });
}

/** A line through points [x, y] of a chart. */
function linePath({ x, y }, points, attributes = {}) {
  const d = points.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  return draw("path", { d, fill: "none", ...attributes });
}

/** Counts as bars over the range from `low` to `high`, with these two numbers below. */
function histogram(counts, { width, height, low, high, title }) {
  const svg = chartFrame(width, height, title);
  const bottom = height - 20;
  const most = Math.max(1, ...counts);
  const step = width / counts.length;
  counts.forEach((count, k) => {
    const size = (count / most) * (bottom - 4);
    svg.append(
      draw("rect", { x: k * step, y: bottom - size, width: Math.max(0.5, step - 1), height: size, class: "chart-bar" }),
    );
  });
  svg.append(
    draw("line", { x1: 0, x2: width, y1: bottom, y2: bottom, class: "chart-grid" }),
    draw("text", { x: 0, y: height - 4 }, shown(low)),
    draw("text", { x: width, y: height - 4, "text-anchor": "end" }, shown(high)),
  );
  return svg;
}

/** Draw a chart into an element, again whenever the element's width changes. Returns a function that draws it again. */
function drawnToWidth(element, render) {
  let width = 0;
  const redraw = () => {
    if (width > 0) element.replaceChildren(render(width));
  };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(element);
  return redraw;
}
