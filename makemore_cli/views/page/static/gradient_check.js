"use strict";
// Check of gradients: the loss changes along a direction by what the gradient says (central differences in float64).

const DIRECTIONS = 4; // for each parameter
const DIRECTION_STEP = 1e-5; // the length of a move
const CHECK_TOLERANCE = 1e-5; // of the slope
const SMALLEST_SCALE = 1e-3; // of the largest slope, for a gradient that is zero, such as that of b1

/**
 * Compare the gradients of a pass over one batch with central differences. Each parameter is moved in random
 * directions of length 1. For each, the result has the largest difference of slopes, relative to the largest slope.
 *
 * @returns {{name: string, difference: number, right: boolean}[]}
 */
function checkGradients(parameters, X, Y, tensors, settings, random) {
  trainingPass(parameters, X, Y, tensors, settings);
  const names = Object.keys(parameters);
  const gradients = Object.fromEntries(names.map((name) => [name, tensors[`d${name}`].slice()]));
  const lossOf = () => {
    forwardPass(parameters, X, tensors, settings.epsilon);
    return crossEntropy(tensors, Y, settings.smoothing);
  };
  const slopes = names.map((name) =>
    Array.from({ length: DIRECTIONS }, () => {
      const direction = randomDirection(parameters[name].length, random);
      const claimed = gradients[name].reduce((sum, value, k) => sum + value * direction[k], 0);
      return [claimed, slopeAlong(parameters[name], direction, lossOf)];
    }),
  );
  const scales = slopes.map((pairs) => Math.max(...pairs.map(([, measured]) => Math.abs(measured))));
  const least = SMALLEST_SCALE * Math.max(...scales);
  return names.map((name, k) => {
    const largest = Math.max(...slopes[k].map(([claimed, measured]) => Math.abs(claimed - measured)));
    const difference = largest / Math.max(scales[k], least);
    return { name, difference, right: difference < CHECK_TOLERANCE };
  });
}

/** The slope of a loss along a direction of a parameter, which is unchanged afterwards. */
function slopeAlong(parameter, direction, lossOf) {
  const before = parameter.slice();
  const [above, below] = [DIRECTION_STEP, -DIRECTION_STEP].map((step) => {
    for (let k = 0; k < parameter.length; k++) parameter[k] = before[k] + step * direction[k];
    return lossOf();
  });
  parameter.set(before);
  return (above - below) / (2 * DIRECTION_STEP);
}

function randomDirection(length, random) {
  const direction = Float64Array.from({ length }, () => normal(random));
  const size = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0));
  return direction.map((x) => x / size);
}
