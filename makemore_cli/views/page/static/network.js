"use strict";
// A trained network: what it predicts after a context, with its batchnorm statistics in place of a batch's own.
//
//   network = {sizes: {V, T, E, H}, parameters: {C, W1, b1, W2, b2, bngain, bnbias}, bnmean, bnvar, epsilon}
//
// Each array is a Float64Array in row-major order. b1 may be missing. Tokens are whole numbers below V; 0 ends a name.

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

/** logits (V) of the next token after a context of T tokens. */
function logitsAfter(network, context) {
  const { sizes: { V, H }, parameters: { W2, b2 } } = network;
  const h = preactivations(network, context).map(Math.tanh);
  const logits = Float64Array.from(b2);
  for (let j = 0; j < H; j++) {
    for (let v = 0; v < V; v++) logits[v] += h[j] * W2[j * V + v];
  }
  return logits;
}

/**
 * Probabilities (V) of the next token. A temperature below 1 makes likely tokens likelier; at 0 only the likeliest is
 * left. With topK, only the k likeliest tokens are possible; of equal ones, those with lower numbers.
 */
function probabilitiesOf(logits, { temperature = 1, topK = null } = {}) {
  const most = temperature === 0 ? 1 : topK;
  let possible = [...logits.keys()];
  if (most !== null && most < logits.length) {
    possible = possible.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, most);
  }
  const largest = possible.reduce((max, token) => Math.max(max, logits[token]), -Infinity);
  const probabilities = new Float64Array(logits.length);
  let sum = 0;
  for (const token of possible) {
    probabilities[token] = Math.exp((logits[token] - largest) / Math.max(temperature, 1e-6));
    sum += probabilities[token];
  }
  return probabilities.map((p) => p / sum);
}

/** The context (T) after the tokens of the beginning of a name. */
function contextAfter(tokens, T) {
  return [...new Array(T).fill(0), ...tokens].slice(-T);
}

/** The tokens of a sampled name, without the end-of-word token. Longer names than `longest` are cut. */
function sampledName(network, random, { prefix = [], longest = 100, ...options } = {}) {
  const tokens = [...prefix];
  while (tokens.length < longest) {
    const context = contextAfter(tokens, network.sizes.T);
    const next = drawnIndex(probabilitiesOf(logitsAfter(network, context), options), random);
    if (next === 0) break;
    tokens.push(next);
  }
  return tokens;
}

/** The probability of each token of a name, the end-of-word token included. */
function tokenProbabilities(network, tokens) {
  return [...tokens, 0].map((token, place) => {
    const context = contextAfter(tokens.slice(0, place), network.sizes.T);
    return probabilitiesOf(logitsAfter(network, context))[token];
  });
}

/** Mean negative log likelihood in nats per character, from the probabilities of a name's characters. */
function meanLoss(probabilities) {
  return -probabilities.reduce((sum, p) => sum + Math.log(p), 0) / probabilities.length;
}
