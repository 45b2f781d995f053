"use strict";
// Tensors: broadcasting, moving dimensions, products and reductions.
//
// A tensor is {shape, data}: a list of sizes, and a Float64Array in row-major order. Shapes broadcast as in PyTorch.

class LineError extends Error {}

/** An object without a prototype, so that any name is only a name: constructor, toString, __proto__ … */
const record = (...parts) => Object.assign(Object.create(null), ...parts);

const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);
const isTensor = (value) => typeof value === "object" && value !== null && "shape" in value;
const tensor = (shape, data = new Float64Array(sizeOf(shape))) => ({ shape, data });
const asTensor = (value) => (isTensor(value) ? value : tensor([], Float64Array.of(Number(value))));

/** How far apart neighbours along each dimension are. */
function strides(shape) {
  const result = new Array(shape.length);
  let step = 1;
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    result[dim] = step;
    step *= shape[dim];
  }
  return result;
}

/** A dimension counted from the front. */
function dimension(dim, shape) {
  const place = dim < 0 ? dim + shape.length : dim;
  if (!Number.isInteger(place) || place < 0 || place >= Math.max(1, shape.length))
    throw new LineError(`no dimension ${dim} in (${shape})`);
  return place;
}

/** The shape that several shapes broadcast to. */
function broadcastShape(...shapes) {
  const length = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length }, (_, place) => {
    const sizes = shapes.map((shape) => shape[shape.length - length + place] ?? 1);
    const size = sizes.find((one) => one !== 1) ?? 1;
    if (sizes.some((one) => one !== 1 && one !== size)) {
      throw new LineError(`shapes do not fit: ${shapes.map((shape) => `(${shape.join(", ")})`).join(" and ")}`);
    }
    return size;
  });
}

/** For each entry of a shape, in order, the place in `x` that broadcasts to it. */
function places(x, shape) {
  const found = new Int32Array(sizeOf(shape));
  const own = strides(x.shape);
  const ahead = shape.length - x.shape.length;
  const steps = shape.map((_, dim) => (dim < ahead || x.shape[dim - ahead] === 1 ? 0 : own[dim - ahead]));
  const index = new Array(shape.length).fill(0);
  for (let entry = 0, at = 0; entry < found.length; entry++) {
    found[entry] = at;
    for (let dim = shape.length - 1; dim >= 0; dim--) {
      at += steps[dim];
      if (++index[dim] < shape[dim]) break;
      at -= steps[dim] * shape[dim];
      index[dim] = 0;
    }
  }
  return found;
}

function expanded(x, shape) {
  if (String(broadcastShape(x.shape, shape)) !== String(shape)) throw new LineError(`(${x.shape}) is not (${shape})`);
  return tensor(
    shape,
    Float64Array.from(places(x, shape), (at) => x.data[at]),
  );
}

const unary = (rule) => (x) => (isTensor(x) ? tensor(x.shape, x.data.map(rule)) : rule(x));

/** A function of two numbers, for tensors entry by entry. */
function binary(a, b, rule) {
  if (!isTensor(a) && !isTensor(b)) return rule(a, b);
  [a, b] = [asTensor(a), asTensor(b)];
  const shape = broadcastShape(a.shape, b.shape);
  const [left, right] = [places(a, shape), places(b, shape)];
  return tensor(
    shape,
    Float64Array.from(left, (at, entry) => rule(a.data[at], b.data[right[entry]])),
  );
}

/** A dimension moved to another order: order[i] is the dimension of x that becomes dimension i. */
function permuted(x, order) {
  const own = strides(x.shape);
  const shape = order.map((dim) => x.shape[dim]);
  const steps = order.map((dim) => own[dim]);
  const to = strides(shape);
  const data = Float64Array.from({ length: x.data.length }, (_, entry) => {
    let at = 0;
    for (let dim = 0; dim < shape.length; dim++) at += (Math.floor(entry / to[dim]) % shape[dim]) * steps[dim];
    return x.data[at];
  });
  return tensor(shape, data);
}

const transposed = (x) => permuted(x, [...x.shape.keys()].reverse());

function swapped(x, one, other) {
  const order = [...x.shape.keys()];
  [one, other] = [dimension(one, x.shape), dimension(other, x.shape)];
  [order[one], order[other]] = [other, one];
  return permuted(x, order);
}

/** x @ y; dimensions before the last two are a batch. */
function matrixProduct(x, y) {
  if (x.shape.length === 0 || y.shape.length === 0) throw new LineError("a product needs vectors or matrices");
  const left = x.shape.length === 1 ? tensor([1, ...x.shape], x.data) : x;
  const right = y.shape.length === 1 ? tensor([...y.shape, 1], y.data) : y;
  const [n, k] = left.shape.slice(-2);
  const [inner, m] = right.shape.slice(-2);
  if (k !== inner) throw new LineError(`shapes do not fit: (${x.shape.join(", ")}) @ (${y.shape.join(", ")})`);
  const batch = broadcastShape(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const lefts = places({ shape: left.shape.slice(0, -2) }, batch);
  const rights = places({ shape: right.shape.slice(0, -2) }, batch);
  const result = tensor([...batch, n, m]);
  for (let b = 0; b < lefts.length; b++) {
    for (let i = 0; i < n; i++) {
      const row = (b * n + i) * m;
      for (let p = 0; p < k; p++) {
        const factor = left.data[lefts[b] * n * k + i * k + p];
        const from = rights[b] * k * m + p * m;
        for (let j = 0; j < m; j++) result.data[row + j] += factor * right.data[from + j];
      }
    }
  }
  const shape = [...batch, ...(x.shape.length === 1 ? [] : [n]), ...(y.shape.length === 1 ? [] : [m])];
  return tensor(shape, result.data);
}

/**
 * Fold each row along some dimensions into one number.
 * @param rule takes the numbers of a row, and gives one
 */
function reduced(x, dims, keepdim, rule) {
  const all = dims === undefined || dims === null;
  const given = all ? [...x.shape.keys()] : [dims].flat().map((dim) => dimension(dim, x.shape));
  const over = given.filter((dim) => dim < x.shape.length);
  const rest = [...x.shape.keys()].filter((dim) => !over.includes(dim));
  const moved = permuted(x, [...rest, ...over]);
  const length = sizeOf(over.map((dim) => x.shape[dim]));
  const kept = rest.map((dim) => x.shape[dim]);
  const data = Float64Array.from({ length: sizeOf(kept) }, (_, row) =>
    rule(moved.data.subarray(row * length, (row + 1) * length)),
  );
  return tensor(keepdim ? x.shape.map((size, dim) => (over.includes(dim) ? 1 : size)) : kept, data);
}
