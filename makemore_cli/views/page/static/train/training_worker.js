"use strict";
// Training in a worker, so that the page stays responsive. Messages in: {command, …}; messages out: {kind, …}.

const SLICE = 60; // milliseconds of training between two messages
const LOOK_EVERY = 1000; // milliseconds between two looks at the network, which cost time
const LOOK_SHARE = 5; // a look takes at most about a fifth of the time
const SAMPLES = 8;
const LONGEST_SAMPLE = 40;

/** Serve the page that made this worker. */
function serveTraining() {
  useSimd();
  const next = new MessageChannel(); // a timer would wait for some milliseconds
  let trainer = null;
  let running = false;
  let nextLook = 0;

  const commands = {
    begin({ options }) {
      trainer = new Trainer(options);
      look();
    },
    start() {
      if (running) return;
      running = true;
      next.port2.postMessage(null);
    },
    pause() {
      running = false;
      look();
    },
    step() {
      train(0);
      look();
    },
    set({ learningRate, batchSize }) {
      trainer.learningRate = learningRate;
      if (batchSize !== trainer.batchSize) trainer.batchSize = batchSize;
      postMessage({ kind: "set", step: trainer.steps, learningRate, batchSize });
    },
    answer() {
      postMessage({ kind: "answer" });
    },
    check() {
      postMessage({ kind: "check", step: trainer.steps, results: trainer.check() });
    },
    weights() {
      const { parameters, ...network } = trainer.network();
      const copies = Object.entries(parameters).map(([name, parameter]) => [name, parameter.slice()]); // and no more
      postMessage({ kind: "weights", step: trainer.steps, ...network, parameters: Object.fromEntries(copies) });
    },
  };

  /** Train for some milliseconds, at least one step. */
  function train(milliseconds) {
    const began = performance.now();
    const losses = [];
    do {
      losses.push(trainer.step());
    } while (Number.isFinite(losses.at(-1)) && performance.now() - began < milliseconds);
    const stopped = !Number.isFinite(losses.at(-1));
    if (stopped) running = false;
    postMessage({ kind: "losses", step: trainer.steps, losses, seconds: (performance.now() - began) / 1000, stopped });
  }

  /** Send what the network has learned so far. */
  function look() {
    const began = performance.now();
    postMessage({ kind: "look", step: trainer.steps, ...learned(trainer) });
    const now = performance.now();
    nextLook = now + Math.max(LOOK_EVERY, LOOK_SHARE * (now - began));
  }

  next.port1.onmessage = () => {
    if (!running) return;
    train(SLICE);
    if (performance.now() > nextLook) look();
    if (running) next.port2.postMessage(null);
  };
  onmessage = ({ data: message }) => commands[message.command](message);
}

/** What a network has learned so far; little, if its numbers are no longer finite. */
function learned(trainer) {
  const network = trainer.network();
  const random = randomNumbers(trainer.seed);
  try {
    return {
      samples: Array.from({ length: SAMPLES }, () => sampledName(network, random, { longest: LONGEST_SAMPLE })),
      validation: trainer.validationLoss(network),
      distributions: trainer.distributions(),
    };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { samples: [], validation: null, distributions: null };
  }
}

/** Train with SIMD instructions if the browser has them. */
function useSimd() {
  try {
    Object.assign(kernels, simdKernels({ ...kernels }));
  } catch {
    // There is no WebAssembly, or none with SIMD, or a policy forbids it.
  }
}
