"use strict";
// Elements of the page. Text always becomes a text node, so nothing in it is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with attributes and children. An attribute that starts with "on" is a listener. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, in the same way. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button with a text. */
function button(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

/** A number for people: four significant digits, or scientific notation if it is very large or small. */
function shown(number) {
  if (Number.isInteger(number) && Math.abs(number) < 1e6) return String(number).replace("-", "−");
  if (!Number.isFinite(number)) return String(number).replace("-", "−");
  const size = Math.abs(number);
  const text = size >= 1e-3 && size < 1e5 ? number.toPrecision(4) : number.toExponential(2);
  return text.replace(/-/g, "−");
}

/** A colour of the style sheet, in the present theme. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Call a function when the system changes between light and dark. */
function onTheme(listener) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", listener);
}
