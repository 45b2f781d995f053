"use strict";
// Heat maps of tensors: blue for negative, orange for positive numbers, which colour-blind people can tell apart.

const TALLEST = 320; // CSS pixels
const CELL = 18; // CSS pixels, at most

/** A tensor as a matrix: its first dimension is the rows, all others are the columns. */
function matrixSize(shape) {
  if (shape.length < 2) return [1, shape[0] ?? 1];
  return [shape[0], sizeOf(shape.slice(1))];
}

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** A function from a number to a colour [r, g, b]; `scale` is the magnitude with the strongest colour. */
function heatColours(scale) {
  const [negative, neutral, positive] = ["negative", "neutral", "positive"].map((name) => channels(colour(name)));
  return (number) => {
    if (!Number.isFinite(number)) return [255, 0, 255];
    const strength = scale > 0 ? Math.min(1, Math.abs(number) / scale) ** 0.7 : 0; // small numbers stay visible
    const end = number < 0 ? negative : positive;
    return neutral.map((channel, place) => Math.round(channel + strength * (end[place] - channel)));
  };
}

/** The largest magnitude among the finite numbers of a tensor. */
function finiteSize(x) {
  return x.data.reduce((most, number) => (Number.isFinite(number) ? Math.max(most, Math.abs(number)) : most), 0);
}

/**
 * Paint a tensor on a canvas, one pixel for each entry, or at most `widest` columns and `tallest` rows. `scale` is the
 * magnitude with the strongest colour.
 */
function paint(canvas, x, { widest = 4096, tallest = 4096, scale = finiteSize(x) } = {}) {
  const [rows, columns] = matrixSize(x.shape);
  [canvas.width, canvas.height] = [Math.max(1, Math.min(columns, widest)), Math.max(1, Math.min(rows, tallest))];
  const colours = heatColours(scale);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.height && x.data.length > 0; i++) {
    const row = Math.floor((i * rows) / canvas.height);
    for (let j = 0; j < canvas.width; j++) {
      const column = Math.floor((j * columns) / canvas.width);
      image.data.set([...colours(x.data[row * columns + column]), 255], 4 * (i * canvas.width + j));
    }
  }
  context.putImageData(image, 0, 0);
}

/** The index of an entry along each dimension. */
function indexOf(shape, place) {
  return strides(shape).map((step, dim) => Math.floor(place / step) % shape[dim]);
}

/** The entry that all heat maps of a tensor point at: the one under the pointer, else the chosen one. */
class Cursor {
  constructor(place) {
    this.place = place;
    this.followers = [];
    this.onChoose = () => {};
  }

  point(place) {
    this.followers.forEach((follow) => follow(place));
  }

  choose(place) {
    this.place = place;
    this.point(place);
    this.onChoose(place);
  }
}

/**
 * A heat map with the number under the pointer, or at the place that arrow keys move.
 * @param {{shape: number[], data: Float64Array}} x
 * @param {object} options
 * @param {string} options.name of the tensor
 * @param {string} options.caption
 * @param {(index: number[]) => string} options.describe says what an entry belongs to
 * @param {Cursor} options.cursor
 * @param {number} [options.scale] the magnitude with the strongest colour; infinite if all numbers are rounding errors
 */
function heatMap(x, { name, caption, describe, cursor, scale = finiteSize(x) }) {
  const [rows, columns] = matrixSize(x.shape);
  const canvas = make("canvas", {});
  paint(canvas, x, { scale });
  const mark = make("div", { class: "heat-mark" });
  const readout = make("p", { class: "code heat-readout" });
  const frame = make(
    "div",
    { class: "heat", tabindex: 0, role: "application", "aria-roledescription": "heat map" },
    canvas,
    mark,
  );
  frame.style.aspectRatio = `${columns} / ${rows}`;
  frame.style.maxWidth = `${Math.min(columns * CELL, Math.max(120, (TALLEST / rows) * columns))}px`;
  frame.style.height = rows * CELL > TALLEST || columns > 60 ? `${Math.min(TALLEST, rows * CELL)}px` : "auto";

  function show(place) {
    const [row, column] = [Math.floor(place / columns), place % columns];
    mark.style.left = `${(100 * column) / columns}%`;
    mark.style.top = `${(100 * row) / rows}%`;
    mark.style.width = `max(3px, ${100 / columns}%)`;
    mark.style.height = `max(3px, ${100 / rows}%)`;
    const known = place < x.data.length;
    const text = known
      ? `${entryOf(name, x.shape, place)} = ${shown(x.data[place])}`
      : x.data.length > 0
        ? ""
        : `${name} is empty`;
    readout.replaceChildren(
      text,
      make("span", { class: "quiet" }, known ? ` ${describe(indexOf(x.shape, place))}` : ""),
    );
    frame.setAttribute("aria-label", `Heat map of ${name}, ${caption}. ${text}. Arrow keys move to other entries.`);
  }

  function under(event) {
    const box = frame.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return Math.min(rows - 1, Math.max(0, row)) * columns + Math.min(columns - 1, Math.max(0, column));
  }

  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  frame.addEventListener("pointermove", (event) => cursor.point(under(event)));
  frame.addEventListener("pointerleave", () => cursor.point(cursor.place));
  frame.addEventListener("click", (event) => cursor.choose(under(event)));
  frame.addEventListener("focus", () => readout.setAttribute("aria-live", "polite"));
  frame.addEventListener("blur", () => readout.removeAttribute("aria-live"));
  frame.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    event.stopPropagation(); // the chain's own arrow keys
    const [down, right] = MOVES[event.key];
    const row = Math.min(rows - 1, Math.max(0, Math.floor(cursor.place / columns) + down));
    cursor.choose(row * columns + Math.min(columns - 1, Math.max(0, (cursor.place % columns) + right)));
  });
  cursor.followers.push(show);
  show(cursor.place);
  const range = scale === Infinity ? "zero but for rounding" : `±${shown(scale)}`;
  const saving = x.data.length > 1 ? savingOf(() => heatMapPicture(canvas, name, `${caption}, ${range}`), name) : null;
  const words = make("span", {}, caption, x.data.length > 1 ? make("span", { class: "quiet" }, ` ${range}`) : null);
  return make("figure", { class: "heat-figure" }, make("figcaption", {}, words, saving), frame, readout);
}

/** Buttons that save a picture. */
function savingOf(picture, name) {
  return make(
    "span",
    { class: "heat-saving" },
    button("SVG", () => saveSvg(`${name}.svg`, picture()), { "aria-label": `Save the heat map of ${name} as SVG` }),
    button("PNG", () => savePng(`${name}.png`, picture()), { "aria-label": `Save the heat map of ${name} as PNG` }),
  );
}

/** A heat map as an SVG element with its caption. */
function heatMapPicture(canvas, name, caption) {
  const cell = Math.max(1, Math.min(CELL, Math.floor(900 / canvas.width)));
  const [width, height] = [Math.max(320, canvas.width * cell), canvas.height * cell];
  return draw(
    "svg",
    { xmlns: SVG, width, height: height + 34, viewBox: `0 0 ${width} ${height + 34}` },
    draw("rect", { width: "100%", height: "100%", fill: colour("paper") }),
    draw(
      "text",
      { x: 4, y: 20, fill: colour("ink"), "font-family": "sans-serif", "font-size": 14 },
      `${name}: ${caption}`,
    ),
    draw("image", {
      x: 0,
      y: 32,
      width: canvas.width * cell,
      height,
      href: canvas.toDataURL(),
      preserveAspectRatio: "none",
      style: "image-rendering: pixelated",
    }),
  );
}
