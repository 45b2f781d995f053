"use strict";
// Labels on a map that are moved apart, so that each can be read. Lengths are in labels: widths in x, heights in y.

const LABEL = [0.045, 0.062]; // width and height of a letter, as parts of the map's
const FARTHEST = 1.1; // that a label may be moved in each direction; near an edge of the map, further from the edge
const COVERED = 1000; // cost of covering a whole label, in label sizes of movement
const MOST_TRIED = 32; // places in each direction, to limit the time for a crowd
const NOTICED = 0.4; // beyond it, a reader must be told that a label was moved

/**
 * Places [x, y] of labels, from 0 to 1. Each label takes the free place nearest to its own; if there is none, the one
 * of those tried where it covers the least of earlier labels. The first four labels always find a free place: each of the others
 * covers at most one corner of the square in which a label may be moved.
 */
function apart(places) {
  const labels = [];
  for (const place of places) labels.push(nearestPlace(inLabels(place), labels));
  return labels.map((label) => label.map((x, side) => x * LABEL[side]));
}

/** Whether a label is so far from its place that a reader must be told. */
function isFarFrom(label, place) {
  const own = inLabels(place);
  return inLabels(label).some((x, side) => Math.abs(x - own[side]) > NOTICED);
}

function inLabels(place) {
  return place.map((x, side) => x / LABEL[side]);
}

function nearestPlace(own, labels) {
  const low = own.map((x, side) => within(x - FARTHEST, 0.5, 1 / LABEL[side] - 0.5 - 2 * FARTHEST));
  const high = low.map((x) => x + 2 * FARTHEST);
  const near = labels.filter((label) => label.every((x, side) => x > low[side] - 1 && x < high[side] + 1));
  const [xs, ys] = own.map((x, side) => {
    const beside = near.flatMap((label) => [label[side] - 1, label[side] + 1]);
    const all = [x, low[side], high[side], ...beside].map((one) => within(one, low[side], high[side]));
    return [...new Set(all)].sort((a, b) => Math.abs(a - x) - Math.abs(b - x)).slice(0, MOST_TRIED);
  });
  let [best, least] = [own, Infinity];
  for (const x of xs) {
    for (const y of ys) {
      let cost = Math.hypot(x - own[0], y - own[1]);
      for (const [a, b] of near) cost += COVERED * Math.max(0, 1 - Math.abs(x - a)) * Math.max(0, 1 - Math.abs(y - b));
      if (cost < least) [best, least] = [[x, y], cost];
    }
  }
  return best;
}

function within(x, low, high) {
  return Math.min(Math.max(x, low), high);
}
