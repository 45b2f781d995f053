"use strict";
// A trained network: what it predicts after a context, with its batchnorm statistics in place of a batch's own.
//
//   network = {sizes: {V, T, E, H}, parameters: {C, W1, b1, W2, b2, bngain, bnbias}, bnmean, bnvar, epsilon}
//
// Each array is a Float64Array or a Float32Array in row-major order. b1 may be missing. Tokens are whole numbers below V; 0 ends a name.

const COLDEST_TEMPERATURE = 1e-6; // below it, rounding errors would decide
const LONGEST_SAMPLED_NAME = 100; // characters

/** The network of a run's data. */
function networkOf(run) {
  const parameters = Object.fromEntries(
    Object.entries(run.parameters).map(([name, array]) => [name, decoded(array).data]),
  );
  const [bnmean, bnvar] = [decoded(run.bnmean).data, decoded(run.bnvar).data];
  return { sizes: run.sizes, parameters, bnmean, bnvar, epsilon: run.epsilon };
}

/** hpreact (H): the input of tanh after a context of T tokens. */
function preactivations(network, context) {
  const { sizes: { T, E, H }, parameters: { C, W1, b1, bngain, bnbias }, bnmean, bnvar, epsilon } = network;
  const hprebn = b1 ? Float64Array.from(b1) : new Float64Array(H);
  for (let t = 0; t < T; t++) {
    for (let e = 0; e < E; e++) {
      const x = C[context[t] * E + e];
      const row = (t * E + e) * H;
      for (let j = 0; j < H; j++) hprebn[j] += x * W1[row + j];
    }
  }
  return hprebn.map((x, j) => (bngain[j] * (x - bnmean[j])) / Math.sqrt(bnvar[j] + epsilon) + bnbias[j]);
}

/** h (H): the activations of the hidden units after a context of T tokens. */
function activations(network, context) {
  return preactivations(network, context).map(Math.tanh);
}

/** logits (V) of the next token, from the activations h (H). */
function logitsOf(network, h) {
  const { sizes: { V, H }, parameters: { W2, b2 } } = network;
  const logits = Float64Array.from(b2);
  for (let j = 0; j < H; j++) {
    const [activation, row] = [h[j], j * V];
    for (let v = 0; v < V; v++) logits[v] += activation * W2[row + v];
  }
  return logits;
}

/** logits (V) of the next token after a context of T tokens. */
function logitsAfter(network, context) {
  return logitsOf(network, activations(network, context));
}

/** The k likeliest tokens, the likeliest first; of equal ones, those with lower numbers come first. */
function likeliest(values, k) {
  return [...values.keys()].sort((a, b) => values[b] - values[a] || a - b).slice(0, k);
}

/**
 * Probabilities (V) of the next token. A temperature below 1 makes likely tokens likelier; at 0 only the likeliest is
 * left. With topK, only the k likeliest tokens are possible. Throws RangeError if the logits are not finite.
 */
function probabilitiesOf(logits, { temperature = 1, topK = null } = {}) {
  if (!logits.every(Number.isFinite)) throw new RangeError("the network's logits are not finite");
  const most = temperature === 0 ? 1 : (topK ?? logits.length);
  const possible = most < logits.length ? likeliest(logits, most) : logits.keys();
  const largest = logits.reduce((max, logit) => Math.max(max, logit), -Infinity);
  const scale = Math.max(temperature, COLDEST_TEMPERATURE);
  const probabilities = new Float64Array(logits.length);
  let sum = 0;
  for (const token of possible) {
    probabilities[token] = Math.exp((logits[token] - largest) / scale);
    sum += probabilities[token];
  }
  return probabilities.map((p) => p / sum);
}

/** Probabilities (V) of the next token after the tokens of the beginning of a name. */
function probabilitiesAfter(network, tokens, options = {}) {
  return probabilitiesOf(logitsAfter(network, contextAfter(tokens, network.sizes.T)), options);
}

/** The context (T) after the tokens of the beginning of a name. */
function contextAfter(tokens, T) {
  const last = tokens.slice(-T);
  return [...new Array(T - last.length).fill(0), ...last];
}

/**
 * The tokens of a sampled name, without the end-of-word token. Longer names than `longest` are cut. `onDraw` is called
 * with the logits and each token that is drawn from them, the end-of-word token included.
 */
function sampledName(network, random, { prefix = [], longest = LONGEST_SAMPLED_NAME, onDraw, ...options } = {}) {
  const tokens = [...prefix];
  while (tokens.length < longest) {
    const logits = logitsAfter(network, contextAfter(tokens, network.sizes.T));
    const next = drawnIndex(probabilitiesOf(logits, options), random);
    onDraw?.(logits, next);
    if (next === 0) break;
    tokens.push(next);
  }
  return tokens;
}

/** The probability of each token of a name, the end-of-word token included. */
function tokenProbabilities(network, tokens) {
  return [...startProbabilities(network, tokens), probabilitiesAfter(network, tokens)[0]];
}

/** The probability of each token of the beginning of a name. */
function startProbabilities(network, tokens) {
  return tokens.map((token, place) => probabilitiesAfter(network, tokens.slice(0, place))[token]);
}

/** Mean negative log likelihood in nats per character, from the probabilities of a name's characters. */
function meanLoss(probabilities) {
  return -probabilities.reduce((sum, p) => sum + Math.log(p), 0) / probabilities.length;
}

/** Whether the logits are finite after every context: whether their bounds are. */
function isAlwaysFinite(network) {
  const { sizes: { V, T, E, H }, parameters: { C, W1, b1, W2, b2, bngain, bnbias }, bnmean, bnvar, epsilon } = network;
  const largest = C.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  const hprebn = b1 ? b1.map(Math.abs) : new Float64Array(H);
  for (let i = 0; i < T * E * H; i++) hprebn[i % H] += largest * Math.abs(W1[i]);
  const hpreact = hprebn.map(
    (x, j) => (Math.abs(bngain[j]) * (x + Math.abs(bnmean[j]))) / Math.sqrt(bnvar[j] + epsilon) + Math.abs(bnbias[j]),
  );
  const logits = b2.map(Math.abs);
  for (let i = 0; i < H * V; i++) logits[i % V] += Math.abs(W2[i]);
  return hpreact.every(Number.isFinite) && logits.every(Number.isFinite);
}
