"use strict";
// Names to train on, from a run or from the reader, as tokens.

const LARGEST_VOCABULARY = 8192; // letters
const LARGEST_TEXT = 1 << 20; // letters of pasted names
const VALIDATION_SHARE = 10; // every tenth pasted name is for validation

/** A number of things: "1 name", "2 names". */
function countOf(number, thing) {
  return `${grouped(number)} ${thing}${number === 1 ? "" : "s"}`;
}

/** A run's names as tokens: for training, and for validation. */
function namesOfRun({ letters, names }) {
  const { tokens } = new Letters(letters);
  const encoded = (text) =>
    (text === "" ? [] : text.split("\n")).map((name) => Array.from(name, (letter) => tokens.get(letter)));
  return { letters, training: encoded(names.train.text), validation: encoded(names.val.text) };
}

/**
 * Names that a reader wrote, one a line, as tokens of a vocabulary of their own letters, sorted by code point.
 * Throws an Error whose message is for the reader.
 */
function namesOfText(text) {
  if (text.length > LARGEST_TEXT)
    throw new Error(`The names may have ${grouped(LARGEST_TEXT)} letters at most.`);
  const names = text
    .split(/\r\n|[\n\r]/)
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const letters = [...new Set(names.flatMap((name) => Array.from(name)))].sort(
    (a, b) => a.codePointAt(0) - b.codePointAt(0),
  );
  if (names.length < 2) throw new Error("Training needs at least 2 names, one on each line.");
  if (letters.includes(END)) throw new Error("A name can't contain “.”, which ends every name. Remove it.");
  const control = letters.find((letter) => /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(letter));
  if (control !== undefined)
    throw new Error(`A name can't contain the control character ${visible(control)}. Remove it.`);
  if (letters.length > LARGEST_VOCABULARY) {
    const [most, found] = [LARGEST_VOCABULARY, letters.length].map(grouped);
    throw new Error(`The names may have ${most} different letters at most, not ${found}.`);
  }
  const { tokens } = new Letters(letters.join(""));
  const mixed = inRandomOrder(names, randomNumbers(1));
  const encoded = mixed.map((name) => Array.from(name, (letter) => tokens.get(letter)));
  const count = Math.floor(names.length / VALIDATION_SHARE);
  const duplicates = names.length - new Set(names).size;
  return { letters: letters.join(""), training: encoded.slice(count), validation: encoded.slice(0, count), duplicates };
}

/** The tokens of all names, each name followed by 0. Each of them is the target of one example. */
function tokenStream(names) {
  const stream = new Int32Array(names.reduce((sum, name) => sum + name.length + 1, 0));
  let place = 0;
  for (const name of names) {
    stream.set(name, place);
    place += name.length + 1;
  }
  return stream;
}
