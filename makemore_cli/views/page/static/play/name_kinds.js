"use strict";
// Whether a name is among those that the network was trained on, as far as the page has them.

const NO_NAMES = { text: "", complete: false };
const KIND_TEXTS = {
  train: "in the training split",
  held_out: "in the held-out data",
  new: "new",
  unknown: "perhaps new",
  empty: "empty",
  cut: `cut at ${LONGEST_SAMPLED_NAME} characters`,
};

/** The names of a run's data: those of the training split, and those that were held out from training. */
class NameKinds {
  /** @param {?Object<string, {text: string, complete: boolean}>} names of the splits train, val and test */
  constructor(names) {
    const { train, val, test } = names ?? { train: NO_NAMES, val: NO_NAMES, test: NO_NAMES };
    const [trained, ...held] = [train, val, test].map(({ text }) => text.split("\n").filter(Boolean));
    this.isMissing = names === null;
    this.train = new Set(trained);
    this.heldOut = new Set(held.flat());
    this.hasAllOfTrain = train.complete;
    this.hasAll = train.complete && val.complete && test.complete;
  }

  /** "train", "held_out" or "new", or "unknown" if the page has too few names to tell. */
  kind(name) {
    if (this.train.has(name)) return "train";
    if (!this.hasAllOfTrain) return "unknown";
    if (this.heldOut.has(name)) return "held_out";
    return this.hasAll ? "new" : "unknown";
  }

  /** The held-out names that the network was not trained on. */
  neverTrainedOn() {
    return [...this.heldOut].filter((name) => !this.train.has(name));
  }

  /** What the page can't tell, or null. */
  get remark() {
    if (this.hasAll) return null;
    if (this.isMissing) {
      return "The page has no names, because the data is missing or has changed. It cannot tell which names are new.";
    }
    const [train, heldOut] = [this.train, this.heldOut].map((names) => grouped(names.size));
    return (
      `The data is too large for the page, which holds ${train} distinct names of the training split and ${heldOut} ` +
      "of the held-out data. A name that is not among them may still be in the data."
    );
  }
}
