"use strict";
// The state of the page, in its address after the #, so that a link leads to what one sees.

const address = {
  /** A part of the state, or null. */
  get(key) {
    return new URLSearchParams(location.hash.slice(1)).get(key);
  },

  /** Change parts of the state; null removes one. With `entry`, the browser's Back leads to the state before. */
  set(changes, { entry = false } = {}) {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") state.delete(key);
      else state.set(key, value);
    }
    if (`${state}` === location.hash.slice(1)) return;
    const url = `${state}` ? `#${state}` : location.href.split("#")[0];
    if (entry) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  },

  /** Call a function when somebody edits the address, or goes back to an earlier one. */
  onChange(listener) {
    addEventListener("hashchange", listener);
  },
};
