"use strict";
// Mistakes to try: each changes one line of the backward pass.

const MISTAKES = [
  {
    name: "tanh",
    title: "dhpreact without 1 − h²",
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
    title: "dhprebn without Bessel's correction",
    right: "bnraw[k] * (sum_dy_xhat / (n - 1))",
    wrong: "bnraw[k] * (sum_dy_xhat / n)",
  },
  {
    name: "mean",
    title: "dhprebn without the sum of dy",
    right: "dhpreact[k] - sum_dy / n - bnraw[k]",
    wrong: "dhpreact[k] - bnraw[k]",
  },
  {
    name: "variance",
    title: "dhprebn without the sum of dy · x̂",
    right: "sum_dy / n - bnraw[k] * (sum_dy_xhat / (n - 1)));",
    wrong: "sum_dy / n);",
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
