"use strict";
// Vectors in the plane: their first two principal components. And the vectors that are nearest to one.

const SWEEPS = 50; // of the Jacobi method, which needs about ten

/**
 * Eigenvalues in descending order, and eigenvectors of length 1, of a symmetric matrix (n, n): the Jacobi method. Each
 * rotation makes one number off the diagonal zero.
 */
function symmetricEigen(matrix, n) {
  const A = Float64Array.from(matrix);
  const Q = new Float64Array(n * n); // row i is the i-th eigenvector
  for (let i = 0; i < n; i++) Q[i * n + i] = 1;
  const size = A.reduce((sum, x) => sum + x * x, 0);
  for (let sweep = 0; sweep < SWEEPS && offDiagonal(A, n) > 1e-30 * size; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) if (A[p * n + q] !== 0) rotate(A, Q, n, p, q);
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => A[b * n + b] - A[a * n + a]);
  return order.map((i) => ({ value: A[i * n + i], vector: Q.slice(i * n, (i + 1) * n) }));
}

function offDiagonal(A, n) {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) sum += A[i * n + j] ** 2;
  return sum;
}

/** Rotate the axes p and q so that A[p, q] becomes zero. */
function rotate(A, Q, n, p, q) {
  const theta = (A[q * n + q] - A[p * n + p]) / (2 * A[p * n + q]);
  const tangent = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(tangent, 1);
  const s = c * tangent;
  const turn = (array, at, other) => {
    const [x, y] = [array[at], array[other]];
    array[at] = c * x - s * y;
    array[other] = s * x + c * y;
  };
  for (let k = 0; k < n; k++) turn(A, k * n + p, k * n + q);
  for (let k = 0; k < n; k++) turn(A, p * n + k, q * n + k);
  for (let k = 0; k < n; k++) turn(Q, p * n + k, q * n + k);
}

/**
 * Points (n, E) on their first two principal components: {coordinates: [[x, y], …], share} with the share of the
 * variance that these hold. On each component, the coordinate that is farthest from zero is positive.
 */
function principalComponents(points, n, E) {
  const X = centred(points, n, E);
  const isTall = E <= n;
  const [size, length] = isTall ? [E, n] : [n, E];
  const at = isTall ? (i, k) => X[k * E + i] : (i, k) => X[i * E + k];
  const products = new Float64Array(size * size); // XᵀX, or XXᵀ if that is smaller: the eigenvalues are the same
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < length; k++) sum += at(i, k) * at(j, k);
      products[i * size + j] = products[j * size + i] = sum;
    }
  }
  const eigen = symmetricEigen(products, size);
  const total = eigen.reduce((sum, { value }) => sum + Math.max(value, 0), 0);
  const columns = [0, 1].map((which) => {
    if (which >= eigen.length) return new Float64Array(n);
    const { value, vector } = eigen[which];
    return signed(isTall ? projected(X, n, E, vector) : vector.map((x) => x * Math.sqrt(Math.max(value, 0))));
  });
  const held = eigen.slice(0, 2).reduce((sum, { value }) => sum + Math.max(value, 0), 0);
  return {
    coordinates: Array.from({ length: n }, (_, i) => [columns[0][i], columns[1][i]]),
    share: total === 0 ? 1 : held / total,
  };
}

function centred(points, n, E) {
  const mean = new Float64Array(E);
  points.forEach((x, i) => (mean[i % E] += x / n));
  return points.map((x, i) => x - mean[i % E]);
}

function projected(X, n, E, direction) {
  return Float64Array.from({ length: n }, (_, i) =>
    direction.reduce((sum, x, e) => sum + x * X[i * E + e], 0),
  );
}

/** The same numbers, or all with the other sign, so that the one farthest from zero is positive. */
function signed(numbers) {
  const farthest = numbers.reduce((far, x) => (Math.abs(x) > Math.abs(far) ? x : far), 0);
  return farthest < 0 ? numbers.map((x) => -x) : numbers;
}

/** The k rows of C (V, E) that are nearest to one row, with their Euclidean distances, the nearest first. */
function nearestRows(C, V, E, row, k) {
  const distances = Float64Array.from({ length: V }, (_, other) => {
    let sum = 0;
    for (let e = 0; e < E; e++) sum += (C[other * E + e] - C[row * E + e]) ** 2;
    return Math.sqrt(sum);
  });
  const others = [...distances.keys()].filter((other) => other !== row);
  others.sort((a, b) => distances[a] - distances[b] || a - b);
  return others.slice(0, k).map((token) => ({ token, distance: distances[token] }));
}
