"use strict";
// A chain of steps, run in the page: forward values, gradients with the part of each use, and what a mistake does.

const ALIKE = 1e-9; // gradients differ if they are further apart than this fraction of the largest entry …
const NOISE = 1e-13; // … and than this fraction of the gradients that it is computed from, which is rounding
const SAME_AS_PYTORCH = 1e-6; // of fingerprints

/** The inputs of a chain: numbers, and tensors by name. */
function inputsOf(chain) {
  const value = (one) => (typeof one === "number" ? one : decoded(one));
  return Object.fromEntries(chain.inputs.map((input) => [input.name, value(input.value)]));
}

/** Run the forward lines. Returns inputs and tensors by name. */
function chainForward(chain, inputs) {
  const values = { ...inputs };
  for (const step of chain.steps) {
    values[step.name] = chain.live ? asTensor(evaluate(step.forward.code, values)) : decoded(chain.values[step.name]);
  }
  return values;
}

/**
 * The backward pass in order: the lines of each step, from the last to the first. If `fused`, a layer that has single
 * expressions for the gradients of what it reads is one step.
 */
function backwardSteps(chain, fused = false) {
  const layerOf = {};
  for (const layer of fused ? chain.layers : []) {
    if (layer.fused) layer.steps.forEach((name) => (layerOf[name] = layer));
  }
  const steps = [];
  for (const step of [...chain.steps].reverse().filter((one) => one.backward.length > 0)) {
    const layer = layerOf[step.name];
    const lines = step.backward.map((line) => ({ ...line, step: step.name, rule: step.rule, why: step.why }));
    if (!layer) {
      steps.push({ name: step.name, lines });
    } else if (step.name === layer.steps.at(-1)) {
      const outside = lines.filter((line) => !layer.steps.includes(line.target.slice(1)));
      const single = layer.fused.map((line) => ({ ...line, step: step.name, rule: layer.name, why: line.says, mistakes: [] }));
      steps.push({ name: step.name, layer: layer.name, lines: [...outside, ...single] });
    }
  }
  return steps;
}

/** The tensors whose gradients a fused backward pass skips. */
function skipped(chain, fused) {
  const layers = fused ? chain.layers.filter((layer) => layer.fused) : [];
  return new Set(layers.flatMap((layer) => layer.steps.slice(0, -1)));
}

/**
 * Run the backward lines. The gradients and their parts, one for each use, are by tensor; `stopped` is a line's error.
 * A mistake is the step, the target and the number of a wrong backward line; the number "none" leaves the line out.
 */
function chainBackward(chain, values, { mistake = null, fused = false } = {}) {
  if (!chain.live) return embeddedPass(chain, mistake);
  const gradients = Object.fromEntries(Object.entries(chain.above).map(([name, array]) => [name, decoded(array)]));
  const parts = {};
  const steps = backwardSteps(chain, fused);
  for (const [order, step] of steps.entries()) {
    gradients[step.name] ??= tensor(values[step.name].shape);
    for (const line of step.lines) {
      const code = codeOf(line, mistake);
      if (code === null) continue;
      const name = line.target.slice(1);
      const own = Object.fromEntries(Object.entries(gradients).map(([key, value]) => [`d${key}`, value]));
      try {
        const value = asTensor(evaluate(code, { ...own, ...values, [`d${step.name}`]: gradients[step.name] }));
        (parts[name] ??= []).push({ order, step: line.step, value });
        gradients[name] = name in gradients ? binary(gradients[name], value, (a, b) => a + b) : value;
      } catch (error) {
        if (!(error instanceof LineError)) throw error;
        return { gradients, parts, stopped: `${line.target} in the step ${line.step} can't be run: ${error.message}` };
      }
    }
  }
  return { gradients, parts, stopped: null };
}

/** A line's code, or the mistake's if it is in this line; null if the line is left out. */
function codeOf(line, mistake) {
  if (!isAt(mistake, line)) return line.code;
  return mistake.number === "none" ? null : line.mistakes[mistake.number].code;
}

const isAt = (mistake, line) => mistake !== null && mistake.step === line.step && mistake.target === line.target;

/** PyTorch's gradients, with the effect of a mistake, for a chain that the page can't run. */
function embeddedPass(chain, mistake) {
  const gradients = Object.fromEntries(Object.entries(chain.gradients).map(([name, array]) => [name, decoded(array)]));
  if (mistake !== null) {
    const effect = chain.effects[`${mistake.step} ${mistake.target} ${mistake.number}`] ?? {};
    for (const [name, array] of Object.entries(effect)) gradients[name] = array && decoded(array);
    return { gradients, parts: {}, stopped: null };
  }
  const parts = {};
  for (const [order, step] of backwardSteps(chain).entries()) {
    for (const line of step.lines) {
      const name = line.target.slice(1);
      const value = decoded(chain.parts[name][(parts[name] ??= []).length]);
      parts[name].push({ order, step: line.step, value });
    }
  }
  return { gradients, parts, stopped: null };
}

/** The gradient of a tensor after some backward steps: the sum of the parts so far. Null if there is none yet. */
function gradientSoFar(pass, name, steps) {
  const parts = pass.parts[name];
  if (!parts) return pass.gradients[name] ?? null;
  const done = parts.filter((part) => part.order < steps);
  return done.length === 0 ? null : done.map((part) => part.value).reduce((a, b) => binary(a, b, (x, y) => x + y));
}

const largestOf = (x) => x.data.reduce((most, number) => Math.max(most, Math.abs(number)), 0);

/** The largest difference between two tensors; infinite if their shapes differ. */
function distance(a, b) {
  if (String(a.shape) !== String(b.shape)) return Infinity;
  return a.data.reduce((most, number, place) => {
    const apart = Math.abs(number - b.data[place]);
    return Math.max(most, Number.isNaN(apart) && !Object.is(number, b.data[place]) ? Infinity : apart || 0);
  }, 0);
}

/**
 * What a mistake does: the tensor whose gradient has the wrong line, and the set of those whose gradients are wrong now.
 * The first is not in the set if the mistake does not show at these numbers.
 */
function verdictOn(mistake, right, broken) {
  const wrong = Object.entries(right.gradients)
    .filter(([name, gradient]) => {
      const other = broken.gradients[name];
      const above = (right.parts[name] ?? []).flatMap(({ step }) => [right.gradients[step], broken.gradients[step]]);
      const sizes = above.filter(Boolean).map(largestOf).filter(Number.isFinite);
      const noise = NOISE * Math.max(0, ...sizes);
      return !other || !(distance(gradient, other) <= ALIKE * largestOf(gradient) + noise);
    })
    .map(([name]) => name);
  return { named: mistake.target.slice(1), wrong: new Set(wrong) };
}

/** A weighted sum of a tensor's numbers, and the largest magnitude (chain_data.py). */
function fingerprintOf(x) {
  return [x.data.reduce((sum, number, place) => sum + number * Math.cos(place), 0), largestOf(x)];
}

/** The tensors and gradients that are not PyTorch's, which were computed when the page was written. */
function notAsPyTorch(chain, values, pass) {
  const found = { ...values };
  for (const [name, gradient] of Object.entries(pass.gradients)) found[`d${name}`] = gradient;
  const floor = Object.values(chain.fingerprints).reduce((most, [, size]) => Math.max(most, size ?? 0), 0) * NOISE;
  return Object.entries(chain.fingerprints)
    .filter(([name]) => name in found)
    .filter(([name, [sum, size]]) => {
      const [ourSum, ourSize] = fingerprintOf(asTensor(found[name]));
      if (sum === null || size === null) return Number.isFinite(ourSum);
      const scale = SAME_AS_PYTORCH * size * Math.sqrt(asTensor(found[name]).data.length) + floor;
      return !(Math.abs(ourSum - sum) <= scale && Math.abs(ourSize - size) <= scale);
    })
    .map(([name]) => name);
}
