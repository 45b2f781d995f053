"use strict";
// A chain of steps, run in the page: forward values, gradients with the part of each use, and what a mistake does.

const ALIKE = 1e-9; // gradients differ if they are further apart than this fraction of the largest entry …
const NOISE = 1e-13; // … and than this fraction of the gradients that it is computed from, which is rounding
const SAME_AS_PYTORCH = 1e-6; // of fingerprints

/** The inputs of a chain: numbers, tensors, and whatever else a line reads, by name. */
function inputsOf(chain) {
  const inputs = record();
  for (const { name, value } of chain.inputs) {
    inputs[name] = typeof value !== "object" ? value : "number" in value ? Number(value.number) : decoded(value);
  }
  return inputs;
}

/** Run the forward lines. Returns inputs and tensors by name. Throws LineError if a line can't be run. */
function chainForward(chain, inputs) {
  const values = record(inputs);
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
  const layerOf = record();
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
      const isSingle = (line) => layer.fused.some((one) => one.target === line.target);
      const outside = lines.filter((line) => !layer.steps.includes(line.target.slice(1)) && !isSingle(line));
      const single = layer.fused.map((line) => ({ ...line, step: step.name, rule: "", why: line.says }));
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
  const [gradients, parts] = [record(), record()];
  for (const name of Object.keys(chain.above)) gradients[name] = decoded(chain.above[name]);
  for (const [order, step] of backwardSteps(chain, fused).entries()) {
    const above = gradients[step.name] ?? tensor(values[step.name].shape); // zero if no line passes one back
    for (const line of step.lines) {
      const code = codeOf(line, mistake);
      if (code === null) continue;
      const name = line.target.slice(1);
      try {
        const value = asTensor(evaluate(code, record(values, { [`d${step.name}`]: above })));
        (parts[name] ??= []).push({ order, step: line.step, value });
        gradients[name] = gradients[name] ? binary(gradients[name], value, (a, b) => a + b) : value;
      } catch (error) {
        if (!(error instanceof LineError)) throw error;
        return { gradients, parts, stopped: `${line.target} in the step ${line.step}: ${error.message}` };
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
  const [gradients, parts] = [record(), record()];
  for (const name of Object.keys(chain.gradients)) gradients[name] = decoded(chain.gradients[name]);
  if (mistake !== null) {
    const effect = chain.effects[effectOf(mistake)];
    for (const name of Object.keys(effect)) gradients[name] = effect[name] && decoded(effect[name]);
    return { gradients, parts, stopped: null };
  }
  for (const [order, step] of backwardSteps(chain).entries()) {
    for (const line of step.lines) {
      const name = line.target.slice(1);
      const place = (parts[name] ??= []).length;
      parts[name].push({ order, step: line.step, value: decoded(chain.parts[name][place]) });
    }
  }
  return { gradients, parts, stopped: null };
}

const effectOf = ({ step, target, number }) => `${step} ${target} ${number}`;

/** Whether the effect of a mistake is known: computed here, or embedded in the page. */
const canBreak = (chain, mistake) => chain.live || Object.hasOwn(chain.effects, effectOf(mistake));

/** The gradient of a tensor after some backward steps: the sum of the parts so far. Null if there is none yet. */
function gradientSoFar(pass, name, steps) {
  const parts = pass.parts[name];
  if (!parts) return pass.gradients[name] ?? null;
  const done = parts.filter((part) => part.order < steps);
  return done.length === 0 ? null : done.map((part) => part.value).reduce((a, b) => binary(a, b, (x, y) => x + y));
}

const sizes = new WeakMap(); // of tensors, which do not change once they are computed

/** The largest magnitude in a tensor. */
function largestOf(x) {
  if (!sizes.has(x))
    sizes.set(
      x,
      x.data.reduce((most, number) => Math.max(most, Math.abs(number)), 0),
    );
  return sizes.get(x);
}

/** The largest difference between two tensors; infinite if their shapes differ. */
function distance(a, b) {
  if (String(a.shape) !== String(b.shape)) return Infinity;
  return a.data.reduce((most, number, place) => {
    const apart = Math.abs(number - b.data[place]);
    return Math.max(most, Number.isNaN(apart) && !Object.is(number, b.data[place]) ? Infinity : apart || 0);
  }, 0);
}

/**
 * What a mistake does: the tensor whose gradient has the wrong line, and the set of those with wrong gradients now.
 * The first is not in the set if the mistake does not show at these numbers.
 */
function verdictOn(mistake, right, broken) {
  const wrong = Object.keys(right.gradients).filter((name) => {
    const [ours, theirs] = [right.gradients[name], broken.gradients[name]];
    return !theirs || !(distance(ours, theirs) <= ALIKE * largestOf(ours) + noiseOf(name, [right, broken]));
  });
  return { named: mistake.target.slice(1), wrong: new Set(wrong) };
}

/** The rounding errors that a gradient may have, from the gradients that it is computed from in some passes. */
function noiseOf(name, passes) {
  const above = passes.flatMap((pass) => (pass.parts[name] ?? []).map(({ step }) => pass.gradients[step]));
  return NOISE * Math.max(0, ...above.filter(Boolean).map(largestOf).filter(Number.isFinite));
}

/** A tensor's shape, a weighted sum of its numbers, and their largest magnitude (chain_data.py). */
function fingerprintOf(x) {
  return [x.shape, x.data.reduce((sum, number, place) => sum + number * Math.cos(place), 0), largestOf(x)];
}

/** The tensors and gradients that PyTorch computed otherwise, or that the page has not computed. */
function notAsPyTorch(chain, values, passes) {
  const found = passes.flatMap(({ gradients }) => Object.keys(gradients).map((name) => [`d${name}`, gradients[name]]));
  const numbers = [...Object.keys(values).map((name) => [name, values[name]]), ...found].filter(([, x]) => isTensor(x));
  const largest = Object.values(chain.fingerprints).reduce((most, [, , size]) => Math.max(most, size ?? 0), 0);
  const wrong = numbers.filter(([name, x]) => {
    if (!Object.hasOwn(chain.fingerprints, name)) return false;
    const [shape, sum, size] = chain.fingerprints[name];
    const [ourShape, ourSum, ourSize] = fingerprintOf(x);
    if (String(shape) !== String(ourShape)) return true;
    if (sum === null || size === null) return Number.isFinite(ourSum);
    const scale = SAME_AS_PYTORCH * size * Math.sqrt(x.data.length) + NOISE * largest;
    return !(Math.abs(ourSum - sum) <= scale && Math.abs(ourSize - size) <= scale);
  });
  const known = new Set(numbers.map(([name]) => name));
  const missing = Object.keys(chain.fingerprints).filter((name) => !known.has(name));
  return [...new Set([...wrong.map(([name]) => name), ...missing])];
}
