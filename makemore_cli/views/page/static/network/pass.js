"use strict";
// The training pass, with every gradient written by hand: the lecture's network, forward and backward.
//
// n examples, V tokens, contexts of T tokens, embeddings of E numbers, H hidden units. Arrays are in row-major order.

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
    for (let k = j; k < n * H; k += H) {
      bnraw[k] = (hprebn[k] - mean) * bnvar_inv[j];
      h[k] = tanh(bngain[j] * bnraw[k] + bnbias[j]);
    }
  }
}

/** The hyperbolic tangent to 2 · 10⁻¹⁶, in half of the time that Math.tanh takes. */
function tanh(x) {
  return 1 - 2 / (Math.exp(2 * x) + 1);
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
    for (let k = j; k < n * H; k += H) {
      const centred = dhpreact[k] - sum_dy / n - bnraw[k] * (sum_dy_xhat / (n - 1));
      dhprebn[k] = bngain[j] * bnvar_inv[j] * centred;
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
  product(out, a, b, rows, inner, columns, inner, 1, columns, 1);
}

/** out (rows, columns) = aᵀ @ b, where a has the shape (inner, rows). */
function multiplyTransposed(out, a, b, inner, rows, columns) {
  product(out, a, b, rows, inner, columns, 1, rows, columns, 1);
}

/** out (rows, columns) = a @ bᵀ, where b has the shape (columns, inner). */
function multiplyByTransposed(out, a, b, rows, inner, columns) {
  product(out, a, b, rows, inner, columns, inner, 1, 1, inner);
}

/**
 * A matrix product of any layout: in a, a row is `aRow` numbers after the one above it, and the next number to multiply
 * `aStep` after this one; in b, these are `bColumn` and `bStep`. Four rows by two columns of sums stay in registers, so
 * that each number that is read serves two or four of them. At the edges, the last row or column takes the missing
 * places. "| 0" keeps indices whole numbers, without checks for overflow.
 */
function product(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn) {
  for (let i = 0; i < rows; i += 4) {
    const i1 = Math.min(i + 1, rows - 1), i2 = Math.min(i + 2, rows - 1), i3 = Math.min(i + 3, rows - 1);
    for (let j = 0; j < columns; j += 2) {
      const j1 = Math.min(j + 1, columns - 1);
      let a0 = i * aRow, a1 = i1 * aRow, a2 = i2 * aRow, a3 = i3 * aRow, b0 = j * bColumn, b1 = j1 * bColumn;
      let s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0;
      for (let k = 0; k < inner; k++) {
        const x0 = a[a0], x1 = a[a1], x2 = a[a2], x3 = a[a3], y0 = b[b0], y1 = b[b1];
        s00 += x0 * y0; s10 += x1 * y0; s20 += x2 * y0; s30 += x3 * y0;
        s01 += x0 * y1; s11 += x1 * y1; s21 += x2 * y1; s31 += x3 * y1;
        a0 = (a0 + aStep) | 0; a1 = (a1 + aStep) | 0; a2 = (a2 + aStep) | 0; a3 = (a3 + aStep) | 0;
        b0 = (b0 + bStep) | 0; b1 = (b1 + bStep) | 0;
      }
      const o0 = i * columns, o1 = i1 * columns, o2 = i2 * columns, o3 = i3 * columns;
      out[o0 + j] = s00; out[o1 + j] = s10; out[o2 + j] = s20; out[o3 + j] = s30;
      out[o0 + j1] = s01; out[o1 + j1] = s11; out[o2 + j1] = s21; out[o3 + j1] = s31;
    }
  }
}
