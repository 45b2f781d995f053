"use strict";
// The functions of whole arrays that take most of a pass's time. A worker replaces them by faster ones: simd_kernels.js.

const kernels = {
  /**
   * Returns a function that allocates arrays of float32. `lengths` are those of all arrays that will be allocated, and
   * `transposed` is the length of the largest matrix that will be multiplied transposed.
   */
  roomFor(lengths, transposed) {
    return float32;
  },

  /**
   * A matrix product of any layout: in a, a row is `aRow` numbers after the one above it, and the next number to multiply
   * `aStep` after this one; in b, these are `bColumn` and `bStep`. Four rows by two columns of sums stay in registers, so
   * that each number that is read serves two or four of them. At the edges, the last row or column takes the missing
   * places. "| 0" keeps indices whole numbers, without checks for overflow.
   */
  product(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn) {
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
  },

  /** Replace each x by tanh(x), in float64 with an absolute error of at most 4 · 10⁻¹⁶. Math.tanh is slower. */
  tanh(x) {
    for (let k = 0; k < x.length; k++) x[k] = 1 - 2 / (Math.exp(2 * x[k]) + 1);
  },
};

function float32(length) {
  return new Float32Array(length);
}
