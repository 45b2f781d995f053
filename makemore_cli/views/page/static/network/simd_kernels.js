"use strict";
// The kernels in float32 with SIMD instructions, which JavaScript itself does not have: a small WebAssembly module,
// assembled here. Each instruction works on four numbers at once.

const ROWS_OF_BLOCK = 4; // of sums, which stay in registers
const COLUMNS_OF_BLOCK = 8;
const FLOAT32 = 4; // bytes
const REGISTER = 16;
const WASM_PAGE = 65536;

/**
 * Kernels like `slow` for the arrays that `roomFor` allocates. Other arrays, matrices that are narrower than a block, and
 * sizes that do not fit their arrays are left to `slow`, since WebAssembly would write into the next array. Throws an
 * error if there is no WebAssembly with SIMD.
 */
function simdKernels(slow) {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(simdModule()), { page: { memory } });
  const allocated = new Set();
  let copy, free;

  /**
   * Returns a function that allocates arrays of float32 of these lengths, in the memory of earlier ones. `transposed` is
   * the length of the largest matrix that is multiplied transposed.
   * @returns {(length: number) => Float32Array}
   */
  function roomFor(lengths, transposed) {
    const bytes = [transposed, ...lengths].reduce((sum, length) => sum + inRegisters(length), 0);
    const missing = bytes - memory.buffer.byteLength;
    try {
      if (missing > 0) memory.grow(Math.ceil(missing / WASM_PAGE));
    } catch {
      return float32; // too much for WebAssembly
    }
    allocated.clear();
    free = 0;
    copy = numbers(transposed);
    return numbers;
  }

  function numbers(length) {
    const array = new Float32Array(memory.buffer, free, length).fill(0);
    allocated.add(array);
    free += inRegisters(length);
    return array;
  }

  function product(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn) {
    const isTransposed = bColumn !== 1;
    const fits =
      [out, a, b].every((matrix) => allocated.has(matrix)) &&
      Math.min(rows / ROWS_OF_BLOCK, columns / COLUMNS_OF_BLOCK, inner) >= 1 &&
      out.length === rows * columns &&
      a.length === rows * inner &&
      b.length === inner * columns &&
      (aStep === 1 ? aRow === inner : aRow === 1 && aStep === rows) &&
      (isTransposed ? bStep === 1 && bColumn === inner && b.length <= copy.length : bStep === columns);
    if (!fits) return slow.product(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn);
    if (isTransposed) copyTransposed(copy, b, columns, inner);
    const ofB = isTransposed ? copy.byteOffset : b.byteOffset;
    for (let i = 0; i < rows; i += ROWS_OF_BLOCK) {
      const row = Math.min(i, rows - ROWS_OF_BLOCK); // the last strip may begin in the one before
      const [ofA, ofOut] = [a.byteOffset + FLOAT32 * row * aRow, out.byteOffset + FLOAT32 * row * columns];
      exports.strip(ofA, ofB, ofOut, FLOAT32 * aRow, FLOAT32 * aStep, FLOAT32 * columns, inner);
    }
  }

  /** With an absolute error of at most 2 · 10⁻⁷. */
  function tanh(x) {
    if (!allocated.has(x)) return slow.tanh(x);
    exports.tanh(x.byteOffset, x.byteOffset + x.byteLength);
  }

  return { roomFor, product, tanh };
}

/** The bytes of an array that is made of whole registers. */
function inRegisters(length) {
  return REGISTER * Math.ceil((FLOAT32 * length) / REGISTER);
}

/** Copy bᵀ, where b has the shape (rows, columns). */
function copyTransposed(copy, b, rows, columns) {
  for (let j = 0; j < columns; j++) {
    for (let i = 0; i < rows; i++) copy[j * rows + i] = b[i * columns + j];
  }
}

/** Statements of strip(a, b, out, aRow, aStep, width, inner): four rows of a product; addresses and lengths in bytes. */
function stripCode() {
  const { get, set, constant, add, subtract, less, smaller, loop, branchIf } = INSTRUCTIONS;
  const [A, B, OUT, A_ROW, A_STEP, WIDTH, INNER] = [0, 1, 2, 3, 4, 5, 6]; // parameters
  const [J, K, ADDRESS, ...ROWS] = [7, 8, 9, 10, 11, 12, 13]; // a's four rows
  const [X, LEFT, RIGHT, ...SUMS] = [14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24];
  const step = constant(COLUMNS_OF_BLOCK * FLOAT32);
  return [
    ...set(J, constant(0)),
    ...loop(
      ...SUMS.flatMap((sum) => set(sum, VECTOR.all(0))),
      ...set(ROWS[0], get(A)),
      ...[1, 2, 3].flatMap((r) => set(ROWS[r], add(get(ROWS[r - 1]), get(A_ROW)))),
      ...set(ADDRESS, add(get(B), get(J))),
      ...set(K, get(INNER)),
      ...loop(
        ...set(LEFT, VECTOR.load(get(ADDRESS), 0)),
        ...set(RIGHT, VECTOR.load(get(ADDRESS), REGISTER)),
        ...ROWS.flatMap((row, r) => [
          ...set(X, VECTOR.loadForAll(get(row))),
          ...set(SUMS[2 * r], VECTOR.add(get(SUMS[2 * r]), VECTOR.multiply(get(X), get(LEFT)))),
          ...set(SUMS[2 * r + 1], VECTOR.add(get(SUMS[2 * r + 1]), VECTOR.multiply(get(X), get(RIGHT)))),
          ...set(row, add(get(row), get(A_STEP))),
        ]),
        ...set(ADDRESS, add(get(ADDRESS), get(WIDTH))),
        ...set(K, subtract(get(K), constant(1))),
        ...branchIf(get(K)),
      ),
      ...set(ADDRESS, add(get(OUT), get(J))),
      ...[0, 1, 2, 3].flatMap((r) => [
        ...VECTOR.store(get(ADDRESS), get(SUMS[2 * r]), 0),
        ...VECTOR.store(get(ADDRESS), get(SUMS[2 * r + 1]), REGISTER),
        ...set(ADDRESS, add(get(ADDRESS), get(WIDTH))),
      ]),
      // The next columns, or the last ones; none if these were the last.
      ...set(K, subtract(get(WIDTH), step)),
      ...set(ADDRESS, get(J)),
      ...set(J, smaller(add(get(J), step), get(K))),
      ...branchIf(less(get(ADDRESS), get(K))),
    ),
  ];
}

/**
 * Statements of tanh(address, end), which readdresses each number x by 1 − 2 / (e²ˣ + 1). With y = 2x / ln 2, e²ˣ is 2ʸ: the
 * integer nearest to y is added to the exponent of 2ᶻ, a Taylor series in the remainder z.
 */
function tanhCode() {
  const { get, set, constant, add, less, loop, branchIf } = INSTRUCTIONS;
  const { all, load, store, subtract, multiply, divide, least, most, nearest, toInteger, shift, addIntegers } = VECTOR;
  const [ADDRESS, END, Y, INTEGER] = [0, 1, 2, 3];
  const [TERMS, LARGEST, MANTISSA] = [8, 60, 23]; // terms of the series, limit of |y|, bits of the mantissa
  const terms = [1];
  for (let k = 1; k < TERMS; k++) terms.push((terms[k - 1] * Math.LN2) / k);
  const power = terms.map(all).reduceRight((sum, term) => VECTOR.add(multiply(sum, get(Y)), term));
  return loop(
    ...set(Y, multiply(load(get(ADDRESS), 0), all(2 / Math.LN2))),
    ...set(Y, most(least(get(Y), all(LARGEST)), all(-LARGEST))),
    ...set(INTEGER, nearest(get(Y))),
    ...set(Y, subtract(get(Y), get(INTEGER))),
    ...set(Y, addIntegers(power, shift(toInteger(get(INTEGER)), constant(MANTISSA)))),
    ...store(get(ADDRESS), subtract(all(1), divide(all(2), VECTOR.add(get(Y), all(1)))), 0),
    ...set(ADDRESS, add(get(ADDRESS), constant(REGISTER))),
    ...branchIf(less(get(ADDRESS), get(END))),
  );
}

/** A module that exports strip and tanh. */
function simdModule() {
  const [I32, V128] = [0x7f, 0x7b];
  const functions = [
    { name: "strip", parameters: 7, addresses: 7, vectors: 11, body: stripCode() },
    { name: "tanh", parameters: 2, addresses: 0, vectors: 2, body: tanhCode() },
  ];
  const { list, name, section } = PARTS;
  const types = functions.map(({ parameters }) => [0x60, ...list(new Array(parameters).fill(I32)), 0]);
  const code = functions.map(({ addresses, vectors, body }) => {
    const locals = list([
      [addresses, I32],
      [vectors, V128],
    ]);
    return list([...locals, ...body, 0x0b]);
  });
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, types),
    ...section(2, [[...name("page"), ...name("memory"), 0x02, 0x00, 1]]),
    ...section(
      3,
      functions.map((_, k) => [k]),
    ),
    ...section(
      7,
      functions.map((one, k) => [...name(one.name), 0x00, k]),
    ),
    ...section(10, code),
  ]);
}

/** Bytes of expressions, which leave a value on the stack, and of statements, which leave none. */
const INSTRUCTIONS = {
  get: (local) => [0x20, local],
  set: (local, value) => [...value, 0x21, local],
  constant: (number) => [0x41, number], // below 64
  add: (a, b) => [...a, ...b, 0x6a],
  subtract: (a, b) => [...a, ...b, 0x6b],
  less: (a, b) => [...a, ...b, 0x49],
  smaller: (a, b) => [...a, ...b, ...a, ...b, 0x49, 0x1b],
  loop: (...body) => [0x03, 0x40, ...body, 0x0b],
  branchIf: (condition) => [...condition, 0x0d, 0],
};

const vectorInstruction =
  (code) =>
  (...operands) => [...operands.flat(), 0xfd, ...leb128(code)];

/** Bytes of expressions of four float32, and of a statement. `least` and `most` keep a first operand that is NaN. */
const VECTOR = {
  all: (number) => [0xfd, 0x0c, ...new Uint8Array(new Float32Array(4).fill(number).buffer)],
  load: (address, offset) => [...address, 0xfd, 0x00, 2, offset],
  loadForAll: (address) => [...address, 0xfd, 0x09, 2, 0],
  store: (address, value, offset) => [...address, ...value, 0xfd, 0x0b, 2, offset],
  add: vectorInstruction(0xe4),
  subtract: vectorInstruction(0xe5),
  multiply: vectorInstruction(0xe6),
  divide: vectorInstruction(0xe7),
  least: vectorInstruction(0xea),
  most: vectorInstruction(0xeb),
  nearest: vectorInstruction(0x6a),
  toInteger: vectorInstruction(0xf8),
  shift: vectorInstruction(0xab),
  addIntegers: vectorInstruction(0xae),
};

/** Bytes of a module's parts: a list, of bytes or of parts, with its length before it; a name; and a section. */
const PARTS = {
  list: (parts) => [...leb128(parts.length), ...parts.flat()],
  name: (letters) => PARTS.list([...letters].map((letter) => letter.charCodeAt(0))),
  section: (kind, parts) => [kind, ...PARTS.list(PARTS.list(parts))],
};

/** An integer in seven bits a byte, the lowest first (LEB128). */
function leb128(number) {
  return number < 128 ? [number] : [(number & 127) | 128, ...leb128(number >> 7)];
}
