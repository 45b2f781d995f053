"use strict";
// Mistakes to try: each changes one line of the backward pass.

const MISTAKES = [
  {
    name: "tanh",
    title: "dhpreact without tanh’s derivative",
    right: "dhpreact[k] = (1 - h[k] * h[k]) * dh[k];",
    wrong: "dhpreact[k] = dh[k];",
  },
  {
    name: "target",
    title: "dlogits without −1 at the target",
    right: "dlogits[start + Y[i]] -= (1 - smoothing) / n;",
    wrong: "",
  },
  {
    name: "bessel",
    title: "dhprebn without Bessel’s correction",
    right: "const ofVariance = product / (n - 1);",
    wrong: "const ofVariance = product / n;",
  },
  {
    name: "mean",
    title: "dhprebn without the sum of dy",
    right: "(dhpreact[k] - ofMean - bnraw[k] * ofVariance)",
    wrong: "(dhpreact[k] - bnraw[k] * ofVariance)",
  },
  {
    name: "variance",
    title: "dhprebn without the sum of dy · x̂",
    right: "(dhpreact[k] - ofMean - bnraw[k] * ofVariance)",
    wrong: "(dhpreact[k] - ofMean)",
  },
  {
    name: "b2",
    title: "db2 from the first example alone",
    right: "sumOfRows(db2, dlogits, n);",
    wrong: "sumOfRows(db2, dlogits, 1);",
  },
  {
    name: "W1",
    title: "dW1 with the wrong sign",
    right: "multiplyTransposed(dW1, embcat, dhprebn, n, T * E, H);",
    wrong: "multiplyTransposed(dW1, embcat, dhprebn.map((d) => -d), n, T * E, H);",
  },
  {
    name: "C",
    title: "dC from the last use of each character",
    right: "dC[X[place] * E + e] += dembcat[place * E + e];",
    wrong: "dC[X[place] * E + e] = dembcat[place * E + e];",
  },
];

/** The text of the pass with one line changed. */
function withMistake(text, { right, wrong }) {
  return text.replace(right, () => wrong);
}
