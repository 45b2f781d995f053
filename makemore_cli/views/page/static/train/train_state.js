"use strict";
// What a reader chooses for training in the page, and what a run needs for it.

const BATCH_SIZES = [2, 512];
const HIDDEN_SIZES = [1, 512];
const LEARNING_RATES = [1e-4, 10];
const ROUND_NUMBERS = [1, 1.5, 2, 3, 5, 7]; // times a power of ten: the stops of the learning rate's slider
const WEIGHTS_SEED = 2147483647; // the lecture's; of new weights and of batches

/** The choices at first: those in the address, or those of the run. */
function trainState(run) {
  const names = run.names === null ? null : namesOfRun(run);
  return withAddress({ names, own: false, pass: scriptText("pass.js"), edited: false }, run);
}

/** The choices with those in the address. What the address does not say is as in the run. */
function withAddress(state, run) {
  const number = (key, otherwise, [low, high]) => {
    const given = Number(address.get(key) ?? otherwise);
    return Math.min(Math.max(Number.isFinite(given) ? given : otherwise, low), high);
  };
  const mistake = MISTAKES.find(({ name }) => name === address.get("train.mistake"))?.name ?? "";
  return {
    ...state,
    learningRate: number("train.rate", run.learning_rate, [learningRates(run).at(0), learningRates(run).at(-1)]),
    batchSize: Math.round(number("train.batch", run.batch_size, BATCH_SIZES)),
    hidden: Math.round(number("train.hidden", run.sizes.H, hiddenSizes(run))),
    from: address.get("train.from") === "trained" ? "trained" : "initial",
    ...(!state.edited && { mistake, pass: passWith(mistake) }),
  };
}

/** The learning rates to choose from, in order. The run's own is among them. */
function learningRates({ learning_rate: own }) {
  const [least, most] = LEARNING_RATES;
  const powers = Array.from({ length: Math.round(Math.log10(most / least)) + 1 }, (_, k) => k + Math.log10(least));
  const round = powers.flatMap((power) => ROUND_NUMBERS.map((factor) => Number(`${factor}e${Math.round(power)}`)));
  return [...new Set([...round.filter((rate) => rate <= most), own])].sort((a, b) => a - b);
}

/** A learning rate for people. */
function rateText(rate) {
  return String(Number(rate.toPrecision(4))).replace("-", "−");
}

/** The range of H, in which the run's own always is. */
function hiddenSizes({ sizes: { H } }) {
  return [HIDDEN_SIZES[0], Math.max(HIDDEN_SIZES[1], H)];
}

/** Write the choices that differ from the run's into the address. */
function rememberTraining(state, run) {
  const unlike = (value, usual) => (value === usual ? null : String(value));
  address.set({
    "train.rate": unlike(state.learningRate, run.learning_rate),
    "train.batch": unlike(state.batchSize, run.batch_size),
    "train.hidden": unlike(state.hidden, run.sizes.H),
    "train.from": unlike(state.from, "initial"),
    "train.mistake": state.mistake,
  });
}

/** The text of the pass with a mistake of the list, or as it is. */
function passWith(name) {
  const text = scriptText("pass.js");
  const mistake = MISTAKES.find((one) => one.name === name);
  return mistake ? withMistake(text, mistake) : text;
}

/** Whether the run's own weights fit: its names and its number of hidden units. */
function fitsRun(state, run) {
  return !state.own && state.hidden === run.sizes.H;
}

/** The options of a Trainer. */
function trainerOptions(state, run) {
  const { V, T, E } = run.sizes;
  const sizes = { V: state.own ? 1 + Array.from(state.names.letters).length : V, T, E, H: state.hidden };
  return {
    sizes,
    parameters: firstParameters(state, run, sizes),
    training: tokenStream(state.names.training),
    validation: tokenStream(state.names.validation),
    epsilon: run.epsilon,
    smoothing: run.smoothing,
    seed: WEIGHTS_SEED,
    batchSize: state.batchSize,
    learningRate: state.learningRate,
    schedule: run.schedule,
  };
}

function firstParameters(state, run, sizes) {
  const arrays = !fitsRun(state, run) ? null : state.from === "trained" ? run.parameters : run.initial;
  if (arrays === null) return initialParameters(sizes, WEIGHTS_SEED, "b1" in run.parameters);
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, decoded(array).data]));
}

/** What a run is called in the plot, without its learning rate and batch size, which may change in a run. */
function labelOfTraining(state, run) {
  const pass = MISTAKES.find(({ name }) => name === state.mistake)?.title;
  const weights = state.from === "trained" && fitsRun(state, run) ? "from the trained weights" : null;
  return [
    state.edited ? "an edited pass" : (pass ?? "the correct pass"),
    state.hidden === run.sizes.H ? null : `H = ${state.hidden}`,
    weights,
    state.own ? countOf(state.names.training.length, "own name") : null,
  ]
    .filter((part) => part !== null)
    .join(", ");
}
