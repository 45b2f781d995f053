"use strict";
// A training run as the page sees it: a worker of its own, made from the scripts of the page.

const WORKER_SCRIPTS = ["random", "network", "kernels", "simd_kernels", "gradient_check", "trainer", "training_worker"];
const PATIENCE = 3; // seconds without an answer from the worker, after which the reader is told

/** The text of a script of this page, as it was written. */
function scriptText(name) {
  return document.querySelector(`script[data-file="${name}"]`).textContent.trim() + "\n";
}

class TrainingRun {
  /**
   * @param {object} options - of Trainer
   * @param {string} pass - the text of pass.js, or of another pass with the same functions
   * @param {(message: object) => void} receive - takes the worker's messages; {kind: "error", text, line}, in which the
   *   line is null if it is not one of the pass; {kind: "silent"} if the worker does not answer, and {kind: "awake"} if
   *   it does so at last
   */
  constructor(options, pass, receive) {
    const text = [pass, ...WORKER_SCRIPTS.map((name) => scriptText(`${name}.js`)), "serveTraining();"].join("\n");
    const lines = pass.split("\n").length;
    this.receive = receive;
    this.url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    this.worker = new Worker(this.url);
    this.worker.onmessage = ({ data: message }) => this.hear(message);
    this.worker.onerror = (event) => {
      event.preventDefault();
      const line = event.lineno > 0 && event.lineno <= lines ? event.lineno : null;
      receive({ kind: "error", text: event.message.replace(/^Uncaught /, ""), line });
    };
    this.unanswered = 0; // questions, one a second
    this.clock = setInterval(() => this.ask(), 1000);
    this.send("begin", { options });
  }

  send(command, more = {}) {
    this.worker.postMessage({ command, ...more });
  }

  ask() {
    if (this.unanswered === PATIENCE) this.receive({ kind: "silent" });
    this.unanswered++;
    this.send("answer");
  }

  hear(message) {
    if (this.unanswered > PATIENCE) this.receive({ kind: "awake" });
    this.unanswered = 0;
    if (message.kind !== "answer") this.receive(message);
  }

  end() {
    clearInterval(this.clock);
    this.worker.terminate();
    URL.revokeObjectURL(this.url);
  }
}
