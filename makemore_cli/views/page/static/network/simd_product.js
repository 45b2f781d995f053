"use strict";
// The matrix product of pass.js with SIMD instructions, which JavaScript itself does not have: a small WebAssembly
// module, assembled here. It adds the same products in the same order, so its results are the same to the last bit.

const BLOCK = 4; // rows and columns of a block, whose sums stay in registers: two float64 in each
const FLOAT64 = 8; // bytes
const PAGE = 65536; // bytes

/**
 * Room for `count` numbers, and a product like `slow` of arrays in it. `transposed` is the length of the largest matrix
 * that is multiplied transposed. Other arrays, and matrices that are narrower than a block, are left to `slow`.
 * @returns {{numbers: (length: number) => Float64Array, product: typeof product}}
 */
function simdRoom(slow, count, transposed) {
  const memory = new WebAssembly.Memory({ initial: Math.ceil(((count + transposed) * FLOAT64) / PAGE) });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(stripModule()), { page: { memory } });
  const copy = new Float64Array(memory.buffer, 0, transposed);
  let free = copy.byteLength;

  function numbers(length) {
    const found = new Float64Array(memory.buffer, free, length);
    free += found.byteLength;
    return found;
  }

  function product(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn) {
    const isHere = [out, a, b].every((matrix) => matrix.buffer === memory.buffer);
    if (!isHere || rows < BLOCK || columns < BLOCK) {
      return slow(out, a, b, rows, inner, columns, aRow, aStep, bStep, bColumn);
    }
    if (bColumn !== 1) copyTransposed(copy, b, columns, inner);
    const ofB = bColumn === 1 ? b.byteOffset : copy.byteOffset;
    for (let i = 0; i < rows; i += BLOCK) {
      const row = Math.min(i, rows - BLOCK); // the last strip may begin in the one before
      const [ofA, ofOut] = [a.byteOffset + FLOAT64 * row * aRow, out.byteOffset + FLOAT64 * row * columns];
      exports.strip(ofA, ofB, ofOut, FLOAT64 * aRow, FLOAT64 * aStep, FLOAT64 * columns, inner);
    }
  }

  return { numbers, product };
}

/** Copy bᵀ, where b has the shape (rows, columns). */
function copyTransposed(copy, b, rows, columns) {
  for (let j = 0; j < columns; j++) {
    for (let i = 0; i < rows; i++) copy[j * rows + i] = b[i * columns + j];
  }
}

/** Exports strip(a, b, out, aRow, aStep, width, inner): four rows of a product, with places and lengths in bytes. */
function stripModule() {
  const { get, set, constant, add, subtract, less, smaller, loop, again } = INSTRUCTIONS;
  const { zeros, load, loadTwice, store, addPairs, multiplyPairs } = INSTRUCTIONS;
  const { list, name, section } = SECTIONS;
  const [I32, V128] = [0x7f, 0x7b];
  const [A, B, OUT, A_ROW, A_STEP, WIDTH, INNER] = [0, 1, 2, 3, 4, 5, 6]; // parameters
  const [J, K, PLACE, ...ROWS] = [7, 8, 9, 10, 11, 12, 13]; // a's four rows
  const [X, LEFT, RIGHT, ...SUMS] = [14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24];
  const body = [
    ...set(J, constant(0)),
    ...loop(
      ...SUMS.flatMap((sum) => set(sum, zeros())),
      ...set(ROWS[0], get(A)),
      ...[1, 2, 3].flatMap((r) => set(ROWS[r], add(get(ROWS[r - 1]), get(A_ROW)))),
      ...set(PLACE, add(get(B), get(J))),
      ...set(K, get(INNER)),
      ...loop(
        ...set(LEFT, load(get(PLACE), 0)),
        ...set(RIGHT, load(get(PLACE), 16)),
        ...ROWS.flatMap((row, r) => [
          ...set(X, loadTwice(get(row))),
          ...set(SUMS[2 * r], addPairs(get(SUMS[2 * r]), multiplyPairs(get(X), get(LEFT)))),
          ...set(SUMS[2 * r + 1], addPairs(get(SUMS[2 * r + 1]), multiplyPairs(get(X), get(RIGHT)))),
          ...set(row, add(get(row), get(A_STEP))),
        ]),
        ...set(PLACE, add(get(PLACE), get(WIDTH))),
        ...set(K, subtract(get(K), constant(1))),
        ...again(get(K)),
      ),
      ...set(PLACE, add(get(OUT), get(J))),
      ...[0, 1, 2, 3].flatMap((r) => [
        ...store(get(PLACE), get(SUMS[2 * r]), 0),
        ...store(get(PLACE), get(SUMS[2 * r + 1]), 16),
        ...set(PLACE, add(get(PLACE), get(WIDTH))),
      ]),
      // The next four columns, or the last four; none if these were the last.
      ...set(K, subtract(get(WIDTH), constant(BLOCK * FLOAT64))),
      ...set(PLACE, get(J)),
      ...set(J, smaller(add(get(J), constant(BLOCK * FLOAT64)), get(K))),
      ...again(less(get(PLACE), get(K))),
    ),
  ];
  const locals = [
    [7, I32],
    [11, V128],
  ];
  const code = [locals.length, ...locals.flat(), ...body, 0x0b];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...list(new Array(7).fill(I32)), 0]), // the type of strip
    ...section(2, [1, ...name("page"), ...name("memory"), 0x02, 0x00, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name("strip"), 0x00, 0]),
    ...section(10, [1, ...list(code)]),
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
  again: (condition) => [...condition, 0x0d, 0],
  zeros: () => [0xfd, 0x0c, ...new Array(16).fill(0)],
  load: (place, offset) => [...place, 0xfd, 0x00, 3, offset],
  loadTwice: (place) => [...place, 0xfd, 0x0a, 3, 0],
  store: (place, value, offset) => [...place, ...value, 0xfd, 0x0b, 3, offset],
  addPairs: (a, b) => [...a, ...b, 0xfd, 0xf0, 0x01],
  multiplyPairs: (a, b) => [...a, ...b, 0xfd, 0xf2, 0x01],
};

/** Bytes of a module's parts: a list with its length before it, a name, and a section. */
const SECTIONS = {
  list: (bytes) => [...wholeNumber(bytes.length), ...bytes],
  name: (letters) => SECTIONS.list([...letters].map((letter) => letter.charCodeAt(0))),
  section: (kind, content) => [kind, ...SECTIONS.list(content)],
};

/** A number in seven bits a byte, the lowest first (LEB128). */
function wholeNumber(number) {
  return number < 128 ? [number] : [(number & 127) | 128, ...wholeNumber(number >> 7)];
}
