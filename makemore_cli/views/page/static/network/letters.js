"use strict";
// The characters of a network as a page shows them: readable, and on the colour of their probability.

const END = "."; // ends every name; token 0

/** The characters of a network and their tokens. A character is a code point. */
class Letters {
  /** @param {string} letters those of tokens 1, 2, … */
  constructor(letters) {
    this.all = [END, ...letters];
    this.tokens = new Map(this.all.map((letter, token) => [letter, token]));
  }

  /** The token of a character, or of its small letter if the network knows only that; undefined if it knows neither. */
  token(letter) {
    return this.tokens.get(letter) ?? this.tokens.get(letter.toLowerCase());
  }

  /** The tokens of a text, the characters that can't stand in a name here, and those that are read as small letters. */
  encode(text) {
    const letters = Array.from(text);
    const tokens = letters.map((letter) => this.token(letter));
    const unknown = letters.filter((_, place) => !tokens[place]); // neither a missing token nor 0 will do
    const lowered = letters.filter((letter, place) => tokens[place] && !this.tokens.has(letter));
    return { tokens, unknown: [...new Set(unknown)], lowered: [...new Set(lowered)] };
  }

  decode(tokens) {
    return Array.from(tokens, (token) => this.all[token]).join("");
  }
}

/** A character that can be seen: a combining mark on a circle, an invisible character as its code point. */
function visible(letter) {
  if (letter === " ") return "␣";
  if (/[\p{C}\p{Z}\p{DI}]/u.test(letter)) {
    return `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  }
  return /\p{M}/u.test(letter) ? `◌${letter}` : letter;
}

/** What a character means, if that can't be seen. */
function meaning(letter) {
  return { [END]: "end of name", " ": "space" }[letter] ?? null;
}

/** A character with its meaning, in an element that keeps its direction to itself. */
function letterElement(letter, attributes = {}) {
  const element = make("bdi", attributes, visible(letter));
  if (meaning(letter) === null) return element;
  return make("span", {}, element, make("span", { class: "quiet" }, ` ${meaning(letter)}`));
}

/** A name or a part of it in a sentence. */
function quoted(text) {
  return make("bdi", { class: "quoted" }, `“${text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, visible)}”`);
}

/** A probability for people. */
function percent(p) {
  if (p > 0 && p < 1e-5) return "<0.001%";
  return `${p === 0 || p >= 0.01 ? (100 * p).toFixed(1) : (100 * p).toPrecision(2)}%`;
}

/** A whole number for people, with commas between thousands. */
function grouped(number) {
  return number.toLocaleString("en");
}

/** A number with two decimals for people. */
function twoDecimals(number) {
  return number.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");
}

/** A loss for people. */
function lossText(loss, decimals = 3) {
  return Number.isFinite(loss) ? loss.toFixed(decimals) : String(loss).replace("Infinity", "∞");
}

/** The colour of a probability. shades = [{below, colour, meaning}]; the last one has no bound. */
function shadeOf(shades, p) {
  return shades.find(({ below }) => below === null || p < below).colour;
}

/** A character on the colour of its probability. */
function shadedLetter(letter, p, shades) {
  const style = `background: ${shadeOf(shades, p)}`;
  return make("bdi", { class: "shade", style, title: percent(p) }, visible(letter));
}

/** A name on the colours of its characters' probabilities. */
function shadedName(letters, probabilities, shades, ...after) {
  const parts = letters.map((letter, place) => shadedLetter(letter, probabilities[place], shades));
  return make("span", { class: "shaded", dir: "ltr" }, ...parts, ...after);
}

/** The same with the probabilities as text. */
function letterTable(letters, probabilities, shades) {
  const items = letters.map((letter, place) =>
    make("li", {}, shadedLetter(letter, probabilities[place], shades), make("span", {}, percent(probabilities[place]))),
  );
  return make("ol", { class: "letters", dir: "ltr" }, ...items);
}

/** The meanings of the colours. */
function shadeLegend(shades) {
  const items = shades.map(({ colour: background, meaning: text }) =>
    make("li", { class: "shade", style: `background: ${background}` }, text),
  );
  return make("div", { class: "row quiet" }, "Probability of a character:", make("ul", { class: "legend" }, ...items));
}
