"use strict";
// The state of the page, in its address after the #, so that a link leads to what one sees.

const address = {
  /** A part of the state, or null. */
  get(key) {
    return new URLSearchParams(location.hash.slice(1)).get(key);
  },

  /** Change parts of the state; null removes one. */
  set(changes) {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") state.delete(key);
      else state.set(key, value);
    }
    history.replaceState(null, "", `#${state}`);
  },

  /** Call a function when somebody edits the address, or follows a link in the page. */
  onChange(listener) {
    addEventListener("hashchange", listener);
  },
};
