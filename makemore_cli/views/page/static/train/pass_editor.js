"use strict";
// The text of the pass that trains, which a reader may change.

const LINES_BEFORE = 6; // a line that the reader is led to
const CODE_ROWS = 30;

/**
 * An editor with numbers of lines.
 * @param {Object<string, Function>} on - change, usePass
 * @returns {{element: HTMLElement, show: (state: object) => void, refuse: (text: string, line: ?number) => void}}
 */
function passEditor(on) {
  const text = make("textarea", {
    rows: CODE_ROWS,
    wrap: "off",
    dir: "ltr",
    spellcheck: "false",
    class: "code",
    "aria-label": "JavaScript of the pass",
    "aria-describedby": "pass-problem",
    oninput: () => number(),
    onscroll: () => follow(),
  });
  const gutter = make("div", { class: "code train-lines", "aria-hidden": "true" });
  const problem = make("span", { class: "wrong", id: "pass-problem", role: "status" });
  const lead = button("", () => select(wrongLineNumber), { hidden: true });
  const restore = button("Restore the correct pass", () => on.change({ mistake: "", edited: false }));
  const element = make(
    "details",
    { class: "train-details card" },
    make("summary", {}, "Read and change the pass"),
    make("p", {}, "This is the JavaScript that trains. Change a line, and see what it does to the loss."),
    make("div", { class: "train-code" }, gutter, text),
    make("div", { class: "row" }, button("Train with this text", () => on.usePass(text.value)), restore, problem, lead),
  );
  let latest = null;
  let changedLine = 0;
  let wrongLineNumber = null;

  /** Number the lines. */
  function number() {
    const count = text.value.split("\n").length;
    const numbers = Array.from({ length: count }, (_, k) => {
      const line = k + 1;
      return make("div", { class: line === wrongLineNumber ? "wrong" : null }, String(line));
    });
    gutter.replaceChildren(...numbers);
    follow();
  }

  function follow() {
    gutter.scrollTop = text.scrollTop;
  }

  function scrollTo(line) {
    text.scrollTop = (line - 1 - LINES_BEFORE) * parseFloat(getComputedStyle(text).lineHeight);
  }

  function select(line) {
    const before = text.value.split("\n").slice(0, line - 1);
    const start = before.reduce((sum, one) => sum + one.length + 1, 0);
    const end = text.value.indexOf("\n", start);
    text.focus();
    text.setSelectionRange(start, end < 0 ? text.value.length : end);
    scrollTo(line);
  }

  /** Say what is wrong with the text, and in which line, if that is known; "" if nothing is. */
  function refuse(what, line = null) {
    wrongLineNumber = line;
    problem.textContent = what;
    lead.hidden = line === null;
    lead.textContent = `Go to line ${line}`;
    number();
  }

  function show({ pass, mistake, edited }) {
    restore.disabled = mistake === "" && !edited;
    if (pass === latest) return; // what a reader is writing stays
    text.value = pass;
    latest = pass;
    const chosen = edited ? undefined : MISTAKES.find(({ name }) => name === mistake);
    changedLine = chosen ? lineOf(chosen) : 1;
    number();
    scrollTo(changedLine);
  }

  element.addEventListener("toggle", () => scrollTo(changedLine));
  return { element, show, refuse };
}

/** The number of the line of the correct pass that a mistake changes. */
function lineOf({ right }) {
  const text = scriptText("pass.js");
  return text.slice(0, text.indexOf(right)).split("\n").length;
}
