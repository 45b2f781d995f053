"use strict";
// Play with the network: next characters, sampled names, scores, the embedding, and a game.

function playView(section, { run }) {
  section.append(make("h2", {}, "Play"));
}
