"use strict";
// A training run as the page sees it: a worker of its own, made from the scripts of the page.

const WORKER_SCRIPTS = ["random", "network", "simd_product", "gradient_check", "trainer", "training_worker"];

/** The text of a script of this page, as it was written. */
function scriptText(name) {
  return document.querySelector(`script[data-file="${name}"]`).textContent.trim() + "\n";
}

class TrainingRun {
  /**
   * @param {object} options - of Trainer
   * @param {string} pass - the text of pass.js, or of another pass with the same functions
   * @param {(message: object) => void} receive - takes the worker's messages, and {kind: "error", text}
   */
  constructor(options, pass, receive) {
    const text = [pass, ...WORKER_SCRIPTS.map((name) => scriptText(`${name}.js`)), "serveTraining();"].join("\n");
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = ({ data: message }) => receive(message);
    this.worker.onerror = (event) => {
      event.preventDefault();
      receive({ kind: "error", text: event.message });
    };
    this.url = url;
    this.send("begin", { options });
  }

  send(command, more = {}) {
    this.worker.postMessage({ command, ...more });
  }

  end() {
    this.worker.terminate();
    URL.revokeObjectURL(this.url);
  }
}
