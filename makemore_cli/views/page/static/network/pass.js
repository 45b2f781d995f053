"use strict";
// The training pass, with every gradient written by hand: the lecture's network, forward and backward.
//
// n examples, V tokens, contexts of T tokens, embeddings of E numbers, H hidden units. Arrays are in row-major order.
// The matrix product and tanh are in kernels.js.

/** The tensors of a pass over n examples, and the gradients. They are made once; each pass writes over them. */
function passTensors({ V, T, E, H }, n, numbers = (length) => new Float64Array(length)) {
  const tensor = (rows, columns = 1) => numbers(rows * columns);
  return {
    n, V, T, E, H,
    embcat: tensor(n, T * E),
    hprebn: tensor(n, H), bnmean: tensor(H), bnvar: tensor(H), bnvar_inv: tensor(H), bnraw: tensor(n, H),
    h: tensor(n, H),
    logits: tensor(n, V), dlogits: tensor(n, V),
    dh: tensor(n, H), dhpreact: tensor(n, H), dhprebn: tensor(n, H), dembcat: tensor(n, T * E),
    dC: tensor(V, E), dW1: tensor(T * E, H), db1: tensor(H), dW2: tensor(H, V), db2: tensor(V),
    dbngain: tensor(H), dbnbias: tensor(H),
  };
}

/** Loss in nats per character of n contexts X (n, T) and their next tokens Y. The gradients are in `tensors` then. */
function trainingPass(parameters, X, Y, tensors, { epsilon, smoothing }) {
  forwardPass(parameters, X, tensors, epsilon);
  const loss = crossEntropy(tensors, Y, smoothing);
  backwardPass(parameters, X, tensors);
  return loss;
}

function forwardPass(parameters, X, tensors, epsilon) {
  const { n, V, H, h, logits } = tensors;
  hiddenLayer(parameters, X, tensors, epsilon);
  multiply(logits, h, parameters.W2, n, H, V); // h @ W2 + b2
  addToRows(logits, parameters.b2, n);
}

/** h of contexts X, with the batchnorm statistics of these n contexts: bnmean, and bnvar, which divides by n − 1. */
function hiddenLayer({ C, W1, b1, bngain, bnbias }, X, tensors, epsilon) {
  const { n, T, E, H, embcat, hprebn, bnmean, bnvar, bnvar_inv, bnraw, h } = tensors;

  for (let place = 0; place < n * T; place++) {
    for (let e = 0; e < E; e++) embcat[place * E + e] = C[X[place] * E + e];
  }
  multiply(hprebn, embcat, W1, n, T * E, H); // embcat @ W1 + b1
  if (b1) addToRows(hprebn, b1, n);

  for (let j = 0; j < H; j++) {
    let sum = 0;
    for (let k = j; k < n * H; k += H) sum += hprebn[k];
    const mean = sum / n;
    let squares = 0;
    for (let k = j; k < n * H; k += H) squares += (hprebn[k] - mean) * (hprebn[k] - mean);
    bnmean[j] = mean;
    bnvar[j] = squares / (n - 1);
    bnvar_inv[j] = 1 / Math.sqrt(bnvar[j] + epsilon);
    const [inverse, gain, bias] = [bnvar_inv[j], bngain[j], bnbias[j]];
    for (let k = j; k < n * H; k += H) {
      bnraw[k] = (hprebn[k] - mean) * inverse;
      h[k] = gain * bnraw[k] + bias; // hpreact
    }
  }
  kernels.tanh(h);
}

/** Mean cross-entropy. With label smoothing s, every token is a target with s/V, and the next one with 1 − s more. */
function crossEntropy({ n, V, logits, dlogits }, Y, smoothing) {
  let loss = 0;
  for (let i = 0; i < n; i++) {
    const [start, end] = [i * V, (i + 1) * V];
    let [largest, sum, all] = [-Infinity, 0, 0];
    for (let v = start; v < end; v++) largest = Math.max(largest, logits[v]);
    for (let v = start; v < end; v++) {
      dlogits[v] = Math.exp(logits[v] - largest);
      sum += dlogits[v];
      all += logits[v] - largest;
    }
    const log = Math.log(sum);
    loss -= (1 - smoothing) * (logits[start + Y[i]] - largest - log) + smoothing * (all / V - log);
    for (let v = start; v < end; v++) dlogits[v] = (dlogits[v] / sum - smoothing / V) / n; // softmax − s/V
    dlogits[start + Y[i]] -= (1 - smoothing) / n;
  }
  return loss / n;
}

function backwardPass({ W1, W2, bngain }, X, tensors) {
  const { n, V, T, E, H, embcat, bnvar_inv, bnraw, h } = tensors;
  const { dlogits, dh, dhpreact, dhprebn, dembcat, dC, dW1, db1, dW2, db2, dbngain, dbnbias } = tensors;

  sumOfRows(db2, dlogits, n);
  multiplyTransposed(dW2, h, dlogits, n, H, V); // hᵀ @ dlogits
  multiplyByTransposed(dh, dlogits, W2, n, V, H); // dlogits @ W2ᵀ
  for (let k = 0; k < n * H; k++) dhpreact[k] = (1 - h[k] * h[k]) * dh[k];

  for (let j = 0; j < H; j++) {
    let [sum_dy, sum_dy_xhat] = [0, 0];
    for (let k = j; k < n * H; k += H) {
      sum_dy += dhpreact[k];
      sum_dy_xhat += dhpreact[k] * bnraw[k];
    }
    dbnbias[j] = sum_dy;
    dbngain[j] = sum_dy_xhat;
    const scale = bngain[j] * bnvar_inv[j];
    for (let k = j; k < n * H; k += H) {
      dhprebn[k] = scale * (dhpreact[k] - sum_dy / n - bnraw[k] * (sum_dy_xhat / (n - 1)));
    }
  }

  sumOfRows(db1, dhprebn, n);
  multiplyTransposed(dW1, embcat, dhprebn, n, T * E, H); // embcatᵀ @ dhprebn
  multiplyByTransposed(dembcat, dhprebn, W1, n, H, T * E); // dhprebn @ W1ᵀ
  dC.fill(0);
  for (let place = 0; place < n * T; place++) {
    for (let e = 0; e < E; e++) dC[X[place] * E + e] += dembcat[place * E + e]; // the sum over a character's uses
  }
}

/** out (columns) = the sum of a's n rows. */
function sumOfRows(out, a, n) {
  const columns = out.length;
  out.fill(0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < columns; j++) out[j] += a[i * columns + j];
  }
}

function addToRows(out, row, n) {
  const columns = row.length;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < columns; j++) out[i * columns + j] += row[j];
  }
}

/** out (rows, columns) = a (rows, inner) @ b (inner, columns). */
function multiply(out, a, b, rows, inner, columns) {
  kernels.product(out, a, b, rows, inner, columns, inner, 1, columns, 1);
}

/** out (rows, columns) = aᵀ @ b, where a has the shape (inner, rows). */
function multiplyTransposed(out, a, b, inner, rows, columns) {
  kernels.product(out, a, b, rows, inner, columns, 1, rows, columns, 1);
}

/** out (rows, columns) = a @ bᵀ, where b has the shape (columns, inner). */
function multiplyByTransposed(out, a, b, rows, inner, columns) {
  kernels.product(out, a, b, rows, inner, columns, inner, 1, 1, inner);
}
