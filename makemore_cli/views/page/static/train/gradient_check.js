"use strict";
// Check of gradients: along a direction, the loss changes by what the gradient says (central differences in float64).

const DIRECTIONS = 4; // for each parameter
const MOVE = 5e-5; // its length; longer ones are less exact where batchnorm divides by a small variance
const CHECK_TOLERANCE = 1e-5; // of the slope
const SMALLEST_SHARE = 1e-3; // of the largest slope: a gradient may be zero, as that of b1 is
const SMALLEST_SLOPE = 1e-5; // for smaller ones, the rounding of the losses is beyond the tolerance

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
  const least = Math.max(SMALLEST_SHARE * Math.max(...scales), SMALLEST_SLOPE);
  return names.map((name, k) => {
    const largest = Math.max(...slopes[k].map(([claimed, measured]) => Math.abs(claimed - measured)));
    const difference = largest / Math.max(scales[k], least);
    return { name, difference, right: difference < CHECK_TOLERANCE };
  });
}

/** The slope of a loss along a direction of a parameter, by central differences of order 4. */
function slopeAlong(parameter, direction, lossOf) {
  const before = parameter.slice();
  const lossAfter = (move) => {
    for (let k = 0; k < parameter.length; k++) parameter[k] = before[k] + move * direction[k];
    return lossOf();
  };
  const near = lossAfter(MOVE) - lossAfter(-MOVE);
  const far = lossAfter(2 * MOVE) - lossAfter(-2 * MOVE);
  parameter.set(before);
  return (8 * near - far) / (12 * MOVE);
}

function randomDirection(length, random) {
  const direction = Float64Array.from({ length }, () => normal(random));
  const size = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0));
  return direction.map((x) => x / size);
}
