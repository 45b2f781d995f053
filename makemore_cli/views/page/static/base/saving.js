"use strict";
// Files that the page offers: pictures as SVG or PNG, weights as JSON.

const PICTURE_SCALE = 2; // pixels of a PNG for each CSS pixel
const COPIED_STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font", "text-anchor"];

/** Offer a file to the reader. */
function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function saveText(name, text, type = "application/json") {
  save(name, new Blob([text], { type }));
}

/** An SVG element as a file of its own: one of the page with its styles, which come from the style sheet. */
function standalone(svg) {
  if (!svg.isConnected) return new XMLSerializer().serializeToString(svg);
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, place) => {
    const style = getComputedStyle(originals[place]);
    for (const name of COPIED_STYLES) element.style.setProperty(name, style.getPropertyValue(name));
  });
  const { width, height } = svg.getBoundingClientRect();
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  if (!copy.hasAttribute("viewBox")) copy.setAttribute("viewBox", `0 0 ${width} ${height}`);
  copy.prepend(draw("rect", { width: "100%", height: "100%", fill: colour("paper") }));
  return new XMLSerializer().serializeToString(copy);
}

function saveSvg(name, svg) {
  saveText(name, standalone(svg), "image/svg+xml");
}

/** Draw an SVG element into a PNG file. */
async function savePng(name, svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(svg))}`;
  await image.decode();
  const canvas = make("canvas", { width: PICTURE_SCALE * image.width, height: PICTURE_SCALE * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(name, blob));
}
