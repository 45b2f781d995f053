"use strict";
// The embedding: each character where the network has put it.

const MOST_MARKS = 200;
const NEAREST = 5;
const SHOWN_NUMBERS = 12; // of a vector
const LINES = 5; // over which characters are spread if the embedding has one dimension
const SHAPE = 4 / 3; // width over height of the map
const MARGIN = 0.06; // of the map, on each side

/** A card with a map of the characters. */
function embeddingCard(play) {
  const { sizes: { V, E }, parameters: { C } } = play.network;
  const tokens = drawnTokens(play);
  const { places, remark } = placesOf(tokens, C, E);
  const about = make("div", { class: "about", id: "embedding-about" });
  const buttons = new Map();
  const labels = apart(places);
  tokens.forEach((token, i) => {
    const letter = play.letters.all[token];
    const [x, y] = labels[i].map(inPercent);
    const point = button("", () => play.change({ letter }, { entry: true }), {
      class: "point",
      style: `left: ${x}; top: ${y}`,
      "data-letter": letter,
      "aria-describedby": about.id,
      onfocus: () => tell(token),
      onpointerenter: () => tell(token),
      onpointerleave: tellChosen,
    });
    point.append(make("bdi", {}, visible(letter)));
    if (meaning(letter) !== null) point.setAttribute("aria-label", `${visible(letter)} ${meaning(letter)}`);
    buttons.set(token, point);
  });
  const attributes = { class: "map", role: "toolbar", "aria-label": "Characters of the embedding" };
  const map = make("div", attributes, leaders(places, labels), ...buttons.values());
  roving(map);

  /** Describe a character and mark those next to it. */
  function tell(token) {
    const nearest = nearestRows(C, V, E, token, NEAREST);
    const near = new Set(nearest.map((one) => one.token));
    for (const [other, point] of buttons) {
      point.classList.toggle("told", other === token);
      point.classList.toggle("near", near.has(other));
    }
    about.replaceChildren(...aboutLetter(play, token, nearest));
  }

  function tellChosen() {
    tell(chosenToken(play, tokens));
  }

  play.onChange(() => {
    for (const [token, point] of buttons) {
      point.setAttribute("aria-pressed", String(play.letters.all[token] === play.settings.letter));
    }
    tellChosen();
  });
  return make(
    "section",
    { class: "card", "aria-label": "Embedding" },
    make("h2", {}, "Embedding"),
    make("p", {}, remark + amountRemark(play, tokens)),
    make("div", { class: "embedding" }, map, about),
  );
}

/** Lines from the places of characters to their labels, where these were moved so far that it matters. */
function leaders(places, labels) {
  const lines = places.flatMap(([x, y], i) => {
    if (!isFarFrom(labels[i], places[i])) return [];
    const [ofX, ofY] = labels[i];
    const line = { x1: inPercent(x), y1: inPercent(y), x2: inPercent(ofX), y2: inPercent(ofY) };
    return [draw("line", line), draw("circle", { cx: line.x1, cy: line.y1, r: 2 })];
  });
  return draw("svg", { class: "leaders", "aria-hidden": "true" }, ...lines);
}

function inPercent(part) {
  return `${(100 * part).toFixed(2)}%`;
}

/** The token that is described while the pointer and the focus are elsewhere. */
function chosenToken(play, tokens) {
  const chosen = play.letters.tokens.get(play.settings.letter);
  return tokens.includes(chosen) ? chosen : tokens[Math.min(1, tokens.length - 1)];
}

/** The tokens on the map, in order: all, or the most frequent ones. */
function drawnTokens(play) {
  const all = [...play.letters.all.keys()];
  if (all.length <= MOST_MARKS) return all;
  const counts = new Map();
  for (const name of play.kinds.train) for (const letter of name) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  const letters = all.slice(1).map((token) => counts.get(play.letters.all[token]) ?? 0);
  return [0, ...likeliest(letters, MOST_MARKS - 1).map((place) => place + 1).sort((a, b) => a - b)];
}

function amountRemark(play, tokens) {
  const V = play.letters.all.length;
  if (tokens.length === V) return "";
  const which = play.kinds.train.size > 0 ? "most frequent" : "first";
  return ` The map shows “.” and the ${tokens.length - 1} ${which} of ${grouped(V - 1)} characters.`;
}

/** Where the characters are on the map, from 0 to 1, and a sentence that says what that means. */
function placesOf(tokens, C, E) {
  const points = Float64Array.from(tokens.flatMap((token) => [...C.subarray(token * E, (token + 1) * E)]));
  if (E === 1) {
    const remark = "From left to right: the one number of each character's vector. The height has no meaning.";
    return { places: onLines([...points]), remark };
  }
  if (E === 2) {
    const pairs = tokens.map((_, i) => [points[2 * i], points[2 * i + 1]]);
    return { places: inTheMap(pairs), remark: "Each character is at the two numbers of its vector." };
  }
  const { coordinates, share } = principalComponents(points, tokens.length, E);
  const remark =
    `Each character's vector has ${grouped(E)} numbers. The map shows the first two principal components, ` +
    `which hold ${percent(share)} of the variance.`;
  return { places: inTheMap(coordinates), remark };
}

/** Points in the map: one unit is as long to the right as upwards. */
function inTheMap(points) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const height = Math.max(top - bottom, (right - left) / SHAPE) || 1;
  const inside = 1 - 2 * MARGIN;
  return points.map(([x, y]) => [
    0.5 + (inside * (x - (left + right) / 2)) / (height * SHAPE),
    0.5 - (inside * (y - (bottom + top) / 2)) / height,
  ]);
}

/** Numbers from left to right, neighbours on different lines. */
function onLines(numbers) {
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  const order = [...numbers.keys()].sort((a, b) => numbers[a] - numbers[b]);
  const places = new Array(numbers.length);
  order.forEach((which, rank) => {
    const x = MARGIN + ((1 - 2 * MARGIN) * (numbers[which] - least)) / (most - least || 1);
    places[which] = [x, 0.5 + 0.12 * ((rank % LINES) - (LINES - 1) / 2)];
  });
  return places;
}

/** A character's vector and its nearest characters. */
function aboutLetter(play, token, nearest) {
  const { sizes: { E }, parameters: { C } } = play.network;
  const vector = [...C.subarray(token * E, (token + 1) * E)];
  const numbers = vector.slice(0, SHOWN_NUMBERS).map(twoDecimals);
  const more = E > SHOWN_NUMBERS ? ` and ${grouped(E - SHOWN_NUMBERS)} more` : "";
  const item = (one) => make("li", {}, letterElement(play.letters.all[one.token]), ` ${twoDecimals(one.distance)}`);
  return [
    make("h3", {}, letterElement(play.letters.all[token])),
    make("p", {}, "Vector: ", make("span", { class: "code" }, numbers.join("  ")), more),
    make("p", {}, "Nearest characters and their distances:"),
    make("ul", { class: "nearest" }, ...nearest.map(item)),
  ];
}
