"use strict";
// Stochastic gradient descent on names, and its statistics.

const SATURATED = 0.97; // |h| beyond which tanh passes hardly any gradient on
const MOST_EXAMPLES = 1000; // for batchnorm statistics, and for the validation loss
// Products in each, so that large networks don't stop for long.
const CALIBRATION_PRODUCTS = 1e9;
const VALIDATION_PRODUCTS = 3e7;
const FEWEST_EXAMPLES = 16;
const CHECKED_EXAMPLES = 32;
const BARS = 41; // of a histogram

/** New parameters as in the lecture: Kaiming initialisation with tanh's gain for W1, and small numbers elsewhere. */
function initialParameters({ V, T, E, H }, seed, withB1 = true) {
  const random = randomNumbers(seed);
  const drawn = (length, scale, centre = 0) => Float64Array.from({ length }, () => centre + scale * normal(random));
  return {
    C: drawn(V * E, 1),
    W1: drawn(T * E * H, 5 / 3 / Math.sqrt(T * E)),
    ...(withB1 && { b1: drawn(H, 0.1) }),
    W2: drawn(H * V, 0.1),
    b2: drawn(V, 0.1),
    bngain: drawn(H, 0.1, 1),
    bnbias: drawn(H, 0.1),
  };
}

/** Training on random batches. The same options give the same batches, and so the same losses. */
class Trainer {
  /**
   * @param {object} options
   * @param {{V: number, T: number, E: number, H: number}} options.sizes
   * @param {Object<string, Float64Array>} options.parameters - replaced by Float32Arrays, which training changes
   * @param {Int32Array} options.training - the tokens of all names, each name followed by 0
   * @param {Int32Array} options.validation - in the same form; may be empty
   * @param {{milestones: number[], gamma: number}} options.schedule - of the learning rate
   */
  constructor({ epsilon, smoothing, batchSize, ...options }) {
    Object.assign(this, options);
    this.settings = { epsilon, smoothing };
    this.steps = 0;
    this.random = randomNumbers(options.seed);
    this.batchSize = batchSize;
  }

  get batchSize() {
    return this.tensors.n;
  }

  set batchSize(n) {
    const lengths = Object.values(this.parameters).map((parameter) => parameter.length);
    passTensors(this.sizes, n, (length) => lengths.push(length)); // only to know how long they are
    const { W1, W2 } = this.parameters;
    const before = Object.entries(this.parameters).map(([name, parameter]) => [name, parameter.slice()]);
    const numbers = kernels.roomFor(lengths, Math.max(W1.length, W2.length)); // which may be where they were
    for (const [name, parameter] of before) {
      this.parameters[name] = numbers(parameter.length);
      this.parameters[name].set(parameter);
    }
    this.tensors = passTensors(this.sizes, n, numbers);
    this.filled = false; // the tensors, by a step
    [this.X, this.Y] = [new Int32Array(n * this.sizes.T), new Int32Array(n)];
  }

  /** The learning rate of the next step. */
  get rate() {
    const { milestones, gamma } = this.schedule;
    return this.learningRate * gamma ** milestones.filter((milestone) => milestone <= this.steps).length;
  }

  /** Train one step. Returns the loss of its batch before the update, in nats per character. */
  step() {
    drawBatch(this.training, this.X, this.Y, this.random);
    const loss = trainingPass(this.parameters, this.X, this.Y, this.tensors, this.settings);
    for (const name in this.parameters) descend(this.parameters[name], this.tensors[`d${name}`], this.rate);
    this.steps++;
    this.filled = true;
    return loss;
  }

  /** The network as it is now, with batchnorm statistics of training examples. */
  network() {
    const {
      sizes,
      parameters,
      settings: { epsilon },
    } = this;
    const { T, E, H } = sizes;
    this.calibration ??= sampleOf(this.training, T, affordable(CALIBRATION_PRODUCTS, T * E * H), this.seed);
    const { X, count } = this.calibration;
    const tensors = passTensors({ ...sizes, V: 1 }, count, float32); // logits are not needed
    hiddenLayer(parameters, X, tensors, epsilon);
    return { sizes, parameters, bnmean: tensors.bnmean, bnvar: tensors.bnvar, epsilon };
  }

  /** The mean loss of a network on a sample of validation examples; null if there are none. */
  validationLoss(network) {
    const { V, T, E, H } = this.sizes;
    const most = affordable(VALIDATION_PRODUCTS, H * (V + T * E));
    this.validated ??= sampleOf(this.validation, T, most, this.seed);
    const { X, Y, count } = this.validated;
    if (count === 0) return null;
    return meanLoss(
      Array.from(Y, (token, i) => probabilitiesOf(logitsAfter(network, X.subarray(i * T, (i + 1) * T)))[token]),
    );
  }

  /** The fraction of saturated tanh units in the last batch, and histograms of h and of each gradient; null if none. */
  distributions() {
    if (!this.filled) return null;
    const { h } = this.tensors;
    const saturated = h.reduce((count, value) => count + (Math.abs(value) > SATURATED), 0) / h.length;
    const gradients = Object.keys(this.parameters).map((name) => ({
      name,
      ...countsOf(this.tensors[`d${name}`], null),
    }));
    return { saturated, h: countsOf(h, 1), gradients };
  }

  /** Check the gradients of the pass in float64, for a batch of its own and copies of the parameters. */
  check() {
    const random = randomNumbers(this.seed + this.steps + 1);
    const { X, Y, count } = sampleOf(this.training, this.sizes.T, CHECKED_EXAMPLES, this.seed + this.steps);
    const copies = Object.entries(this.parameters).map(([name, parameter]) => [name, Float64Array.from(parameter)]);
    return checkGradients(Object.fromEntries(copies), X, Y, passTensors(this.sizes, count), this.settings, random);
  }
}

/** How many examples a number of products allows, if each example takes `each`. */
function affordable(products, each) {
  return Math.min(MOST_EXAMPLES, Math.max(FEWEST_EXAMPLES, Math.floor(products / each)));
}

/** Fill a batch with random examples, each drawn from all of them. */
function drawBatch(tokens, X, Y, random) {
  const T = X.length / Y.length;
  for (let i = 0; i < Y.length; i++) {
    const place = Math.floor(random() * tokens.length);
    cutContext(tokens, place, X.subarray(i * T, (i + 1) * T));
    Y[i] = tokens[place];
  }
}

/** Fill a context with the tokens before a place. Those of earlier names read as 0. */
function cutContext(tokens, place, context) {
  context.fill(0);
  for (let back = 1; back <= context.length && tokens[place - back] > 0; back++) {
    context[context.length - back] = tokens[place - back];
  }
}

/** Some of the examples, at random, or all if there are no more. */
function sampleOf(tokens, T, most, seed) {
  const count = Math.min(tokens.length, most);
  const [X, Y] = [new Int32Array(count * T), new Int32Array(count)];
  if (tokens.length > most) {
    drawBatch(tokens, X, Y, randomNumbers(seed));
  } else {
    Y.set(tokens);
    for (let i = 0; i < count; i++) cutContext(tokens, i, X.subarray(i * T, (i + 1) * T));
  }
  return { X, Y, count };
}

function descend(parameter, gradient, rate) {
  for (let k = 0; k < parameter.length; k++) parameter[k] -= rate * gradient[k];
}

/** Counts of values in equal parts of the range from −limit to limit, or to the largest size if limit is null. */
function countsOf(values, limit) {
  const high = limit ?? values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const counts = new Array(BARS).fill(0);
  for (const value of values) {
    const bar = Math.floor(((value / (high || 1) + 1) / 2) * BARS);
    if (bar >= 0) counts[Math.min(bar, BARS - 1)]++; // NaN is in none
  }
  return { counts, high };
}
