"use strict";
// Labels on a map that are moved apart, so that each can be read.

const LABEL = [0.045, 0.062]; // width and height of a letter, as parts of the map's
const FARTHEST = 1.1; // labels that one may be moved, in each direction
const ROUNDS = 60;
const SPREAD = 1e-4; // of the map: too little to be seen
const NOTICED = 0.4; // labels that one may be moved before a reader must be told

/** Places [x, y] of labels, from 0 to 1: those given, where two would overlap as far apart as they may be moved. */
function apart(places) {
  const labels = places.map(([x, y], i) => [x + SPREAD * Math.cos(i), y + SPREAD * Math.sin(i)]); // no two are equal
  for (let round = 0; round < ROUNDS; round++) {
    let moved = false;
    for (let i = 0; i < labels.length; i++) {
      for (let j = i + 1; j < labels.length; j++) moved = separate(labels[i], labels[j]) || moved;
    }
    labels.forEach((label, i) => keepNear(label, places[i]));
    if (!moved) break;
  }
  return labels;
}

/** Move two labels apart, halfway, in the direction in which they overlap least. Returns whether they overlapped. */
function separate(one, other) {
  const over = LABEL.map((size, side) => 1 - Math.abs(one[side] - other[side]) / size); // parts of a label
  if (Math.min(...over) <= 1e-6) return false;
  const side = over[0] < over[1] ? 0 : 1;
  const move = (over[side] * LABEL[side]) / 2;
  const before = one[side] < other[side] ? one : other;
  before[side] -= move;
  (before === one ? other : one)[side] += move;
  return true;
}

function isFarFrom(label, place) {
  return LABEL.some((size, side) => Math.abs(label[side] - place[side]) > NOTICED * size);
}

/** Keep a label near its place and on the map. */
function keepNear(label, place) {
  for (const side of [0, 1]) {
    const far = FARTHEST * LABEL[side];
    const wanted = Math.min(Math.max(label[side], place[side] - far), place[side] + far);
    label[side] = Math.min(Math.max(wanted, LABEL[side] / 2), 1 - LABEL[side] / 2);
  }
}
