"use strict";
// Train the network in the page.

function trainView(section, { run }) {
  section.append(make("h2", {}, "Train"));
}
