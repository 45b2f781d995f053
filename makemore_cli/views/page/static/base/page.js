"use strict";
// Shows the views of the page, each when it first becomes visible, by its function: chainView, playView, trainView.
//
// On a page with tabs, one view is visible; in a report, all are, one below another. `view` in the address names the
// tab, or the section to which the page scrolls when it is opened.

function startPage() {
  const sections = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-view]"))];
  const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-tab]"))];
  const started = new Set();

  function start(section) {
    if (started.has(section)) return;
    started.add(section);
    window[`${section.dataset.view}View`](section, data);
  }

  function chooseTab() {
    const names = sections.map((section) => section.dataset.view);
    const chosen = names.includes(address.get("view")) ? address.get("view") : names[0];
    for (const section of sections) section.hidden = section.dataset.view !== chosen;
    for (const tab of tabs) {
      if (tab.dataset.tab === chosen) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
  }

  function goTo(view) {
    const section = document.getElementById(view ?? "");
    if (!section || section.contains(document.activeElement)) return;
    if (sections.includes(section)) start(section);
    section.scrollIntoView();
  }

  for (const section of sections) section.hidden = false;
  if (tabs.length > 0) {
    address.onChange(chooseTab);
    chooseTab();
  } else if (sections.length > 1) {
    address.onChange(() => goTo(address.get("view")));
    goTo(address.get("view"));
    for (const section of sections) {
      section.addEventListener("focusin", () => address.set({ view: section.dataset.view }));
    }
  }
  // A plain link to #losses, say, would replace the state in the address.
  for (const link of [
    .../** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("nav a[href^='#']")),
  ]) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const view = link.dataset.tab ?? link.hash.slice(1);
      address.set({ view }, { entry: true });
      if (tabs.length > 0) chooseTab();
      else goTo(view);
    });
  }
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)),
    { rootMargin: "300px" },
  );
  sections.forEach((section) => watcher.observe(section));
}

startPage();
