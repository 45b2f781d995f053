"use strict";
// The functions of PyTorch that the lines of chains are written with.

const sumOf = (row) => row.reduce((sum, number) => sum + number, 0);
/** The place of the largest number, or of the first that is not a number, as in PyTorch. */
const largestPlace = (row) =>
  row.reduce(
    (best, number, place) => (number > row[best] || (number !== number && row[best] === row[best]) ? place : best),
    0,
  );

/** A shape in which one size may be -1: what is left. */
function completed(shape, size) {
  const known = shape.filter((one) => one !== -1).reduce((result, one) => result * one, 1);
  const whole = shape.map((one) => (one === -1 ? size / known : one));
  if (sizeOf(whole) !== size) throw new LineError(`${size} entries do not fit into (${shape.join(", ")})`);
  return whole;
}

function flattened(x, start, end) {
  const [first, last] = [dimension(start, x.shape), dimension(end, x.shape)];
  const joined = sizeOf(x.shape.slice(first, last + 1));
  return tensor([...x.shape.slice(0, first), joined, ...x.shape.slice(last + 1)], x.data);
}

/** A copy of `x` whose rows that `index` names are changed by the rows of `source`, one after another. */
const withRows = (rule) => (x, dim, index, source) => {
  if (dim !== 0) throw new LineError("rows along another dimension than 0");
  const width = sizeOf(x.shape.slice(1));
  if (source.shape[0] !== index.data.length) throw new LineError("there must be a row for each index");
  const result = tensor(x.shape, x.data.slice());
  index.data.forEach((row, at) => {
    for (let j = 0; j < width; j++) {
      const place = row * width + j;
      result.data[place] = rule(result.data[place], source.data[at * width + j]);
    }
  });
  return result;
};

/** Numbers so far added up along a dimension. */
function runningSums(x, dim) {
  const result = tensor(x.shape, x.data.slice());
  const step = strides(x.shape)[dimension(dim, x.shape)];
  const size = x.shape[dimension(dim, x.shape)];
  result.data.forEach((_, entry) => {
    if (Math.floor(entry / step) % size > 0) result.data[entry] += result.data[entry - step];
  });
  return result;
}

/** How often each whole number occurs. */
function counted(x, weights, minlength) {
  if (weights !== null) throw new LineError("bincount with weights");
  const counts = new Float64Array(x.data.reduce((most, number) => Math.max(most, number + 1), minlength));
  x.data.forEach((number) => (counts[number] += 1));
  return tensor([counts.length], counts);
}

/** Write `source` to the places of a copy of a matrix that `index` names in each row (dim 1) or column (dim 0). */
function scattered(x, dim, index, source) {
  const result = tensor(x.shape, x.data.slice());
  const [steps, order] = [strides(x.shape), strides(index.shape)];
  const from = isTensor(source) ? (source.shape.length === 0 ? expanded(source, index.shape) : source) : null;
  const give = from === null ? null : strides(from.shape);
  dim = dimension(dim, x.shape);
  for (let entry = 0; entry < index.data.length; entry++) {
    let [to, at] = [0, 0];
    for (let d = 0; d < index.shape.length; d++) {
      const place = Math.floor(entry / order[d]) % index.shape[d];
      to += (d === dim ? index.data[entry] : place) * steps[d];
      if (give !== null) at += place * give[d];
    }
    result.data[to] = from === null ? source : from.data[at];
  }
  return result;
}

/** x[…] with whole numbers, slices and new dimensions (null) only. */
function sliced(x, items) {
  const steps = strides(x.shape);
  const [shape, moves] = [[], []];
  let [offset, dim] = [0, 0];
  for (const item of items) {
    if (item === null) {
      shape.push(1);
      moves.push(0);
      continue;
    }
    const size = x.shape[dim];
    const bound = (place) => Math.min(size, Math.max(0, place < 0 ? place + size : place));
    if (typeof item === "number") {
      offset += (item < 0 ? item + size : item) * steps[dim];
    } else {
      const [start, stop] = [bound(item.start ?? 0), bound(item.stop ?? size)];
      offset += start * steps[dim];
      shape.push(Math.max(0, stop - start));
      moves.push(steps[dim]);
    }
    dim += 1;
  }
  shape.push(...x.shape.slice(dim));
  moves.push(...steps.slice(dim));
  const own = strides(shape);
  const data = Float64Array.from({ length: sizeOf(shape) }, (_, entry) =>
    moves.reduce((at, move, d) => at + (Math.floor(entry / own[d]) % shape[d]) * move, 0),
  );
  return tensor(
    shape,
    data.map((at) => x.data[offset + at]),
  );
}

/** x[…]: entries that whole numbers choose, or a part of x. */
function indexed(x, items) {
  if (Array.isArray(x)) return x.at(items[0]); // a shape
  if (items.filter((item) => item !== null).length > x.shape.length) throw new LineError("too many indices");
  if (!items.some(isTensor)) return sliced(x, items);
  if (!items.every(isTensor)) throw new LineError("an index that the page does not know");
  const shape = broadcastShape(...items.map((index) => index.shape));
  const rest = x.shape.slice(items.length);
  const [width, steps] = [sizeOf(rest), strides(x.shape)];
  const from = items.map((index) => places(index, shape));
  const result = tensor([...shape, ...rest]);
  for (let entry = 0; entry < sizeOf(shape); entry++) {
    let at = 0;
    items.forEach((index, dim) => {
      const place = index.data[from[dim][entry]];
      at += (place < 0 ? place + x.shape[dim] : place) * steps[dim];
    });
    result.data.set(x.data.subarray(at, at + width), entry * width);
  }
  return result;
}

/** Softmax or its logarithm along a dimension. */
function softmaxed(x, dim, logarithm) {
  const largest = reduced(x, dim, true, (row) => row.reduce((a, b) => Math.max(a, b), -Infinity));
  const shifted = binary(x, largest, (a, b) => a - b);
  const sums = reduced(FUNCTIONS.exp(shifted), dim, true, sumOf);
  return binary(shifted, sums, (a, sum) => (logarithm ? a - Math.log(sum) : Math.exp(a) / sum));
}

const tensorOf = (list) => {
  const rows = [list].flat(Infinity);
  const shape = [];
  for (let level = list; Array.isArray(level); level = level[0]) shape.push(level.length);
  return tensor(
    shape,
    Float64Array.from(rows, (one) => (isTensor(one) ? one.data[0] : Number(one))),
  );
};

/** The functions by their names in PyTorch, with all their arguments in order (expression_code.py). */
const FUNCTIONS = {
  abs: unary(Math.abs),
  cos: unary(Math.cos),
  exp: unary(Math.exp),
  log: unary(Math.log),
  relu: unary((x) => Math.max(x, 0)),
  sigmoid: unary((x) => 1 / (1 + Math.exp(-x))),
  sin: unary(Math.sin),
  sqrt: unary(Math.sqrt),
  square: unary((x) => x * x),
  t: (x) => transposed(x),
  tanh: unary(Math.tanh),
  numel: (x) => x.data.length,
  ones_like: (x) => tensor(x.shape, new Float64Array(x.data.length).fill(1)),
  zeros_like: (x) => tensor(x.shape),
  addcmul: (x, a, b, value) =>
    binary(
      x,
      binary(a, b, (left, right) => value * left * right),
      (start, add) => start + add,
    ),
  amax: (x, dim, keepdim) => reduced(x, dim, keepdim, (row) => row[largestPlace(row)]),
  arange: (end) =>
    tensor(
      [end],
      Float64Array.from({ length: end }, (_, place) => place),
    ),
  bincount: counted,
  clamp: (x, min, max) => unary((one) => Math.min(max ?? Infinity, Math.max(min ?? -Infinity, one)))(x),
  cumsum: runningSums,
  expand: (x, sizes) => {
    const ahead = sizes.length - x.shape.length;
    return expanded(
      x,
      sizes.map((size, dim) => (size === -1 ? x.shape[dim - ahead] : size)),
    );
  },
  expand_as: (x, like) => expanded(x, like.shape),
  flatten: flattened,
  index_add: withRows((old, added) => old + added),
  index_add_: withRows((old, added) => old + added),
  index_copy_: withRows((_, copied) => copied),
  log_softmax: (x, dim) => softmaxed(x, dim, true),
  max: (x, dim, keepdim) => {
    if (dim === null) return reduced(x, null, false, (row) => row[largestPlace(row)]);
    return {
      values: reduced(x, dim, keepdim, (row) => row[largestPlace(row)]),
      indices: reduced(x, dim, keepdim, largestPlace),
    };
  },
  mean: (x, dim, keepdim) => reduced(x, dim, keepdim, (row) => sumOf(row) / row.length),
  one_hot: (index, classes) =>
    scattered(tensor([...index.shape, classes]), index.shape.length, tensor([...index.shape, 1], index.data), 1),
  permute: (x, order) =>
    permuted(
      x,
      order.map((dim) => dimension(dim, x.shape)),
    ),
  reshape: (x, sizes) => tensor(completed(sizes, x.data.length), x.data),
  scatter: scattered,
  select: (x, dim, place) => sliced(x, [...new Array(dimension(dim, x.shape)).fill({}), place]),
  softmax: (x, dim) => softmaxed(x, dim, false),
  squeeze: (x, dim) =>
    tensor(
      x.shape.filter((size, d) => size !== 1 || d !== dimension(dim, x.shape)),
      x.data,
    ),
  sum: (x, dim, keepdim) => reduced(x, dim, keepdim, sumOf),
  tensor: tensorOf,
  transpose: swapped,
  unsqueeze: (x, dim) => {
    const shape = [...x.shape];
    shape.splice(dim < 0 ? dim + shape.length + 1 : dim, 0, 1);
    return tensor(shape, x.data);
  },
  view: (x, sizes) => FUNCTIONS.reshape(x, sizes),
  where: (test, a, b) => {
    const chosen = binary(test, a, (is, value) => (is ? value : 0));
    return binary(
      chosen,
      binary(test, b, (is, value) => (is ? 0 : value)),
      (x, y) => x + y,
    );
  },
  zeros: (sizes) => tensor(sizes),
};
