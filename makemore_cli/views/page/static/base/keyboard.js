"use strict";
// What the keyboard needs: groups of buttons with one tab stop, and parts that it can scroll.

const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

/**
 * Make one tab stop of a group of buttons. Arrow keys, Home and End move between them, and typing a character moves to
 * the button with that data-letter. Returns a function to be called when the buttons have changed.
 */
function roving(group) {
  const items = () => [...group.querySelectorAll("button")];
  let chosen = null;

  function refresh() {
    const all = items();
    if (!all.includes(chosen)) chosen = all[0];
    for (const item of all) item.tabIndex = item === chosen ? 0 : -1;
  }

  group.addEventListener("focusin", (event) => {
    chosen = event.target;
    refresh();
  });
  group.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const all = items();
    const place = all.indexOf(event.target) + (STEPS[event.key] ?? 0);
    const next = event.key in STEPS
      ? all[Math.min(Math.max(place, 0), all.length - 1)]
      : all.find((item) => item.dataset.letter === event.key && event.key !== " ");
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  });
  refresh();
  return refresh;
}

/** A part of the page that can be scrolled sideways, also with the keyboard. */
function scrolling(label, content) {
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, content);
}
