"use strict";
// Shows the views of the page, each when it first becomes visible. The function of a view is called chainView, and so on.

function startPage() {
  const sections = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-view]"))];
  const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-tab]"))];
  const started = new Set();

  function start(section) {
    if (started.has(section)) return;
    started.add(section);
    window[`${section.dataset.view}View`](section, data);
  }

  /** With tabs, only one view is visible. */
  function choose() {
    const names = sections.map((section) => section.dataset.view);
    const chosen = names.includes(address.get("view")) ? address.get("view") : names[0];
    for (const section of sections) section.hidden = tabs.length > 0 && section.dataset.view !== chosen;
    for (const tab of tabs) {
      if (tab.dataset.tab === chosen) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
  }

  for (const tab of tabs) {
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      address.set({ view: tab.dataset.tab });
      choose();
    });
  }
  address.onChange(choose);
  choose();
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)),
    { rootMargin: "300px" },
  );
  sections.forEach((section) => watcher.observe(section));
}

startPage();
