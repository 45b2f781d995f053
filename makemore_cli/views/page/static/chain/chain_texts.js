"use strict";
// What the view of a chain says: of a mistake, of a change, of its signs, and of its agreement with PyTorch.

/** What a mistake does to the gradients. */
function mistakeTexts({ mistake, verdict, pass, values }) {
  const words = mistake.wrong ? mistake.wrong.words : "the line is left out";
  const broken = make("b", { class: "wrong" }, "Broken: ");
  const lines = [
    make("p", {}, broken, make("code", {}, mistake.target), ` in the step ${mistake.step}: ${words}.`),
    make("p", {}, otherShape(mistake, verdict, pass, values) ?? consequences(verdict, pass)),
  ];
  if (pass.stopped) return [...lines, make("p", { class: "wrong" }, `The backward pass stops: ${pass.stopped}.`)];
  if (verdict.wrong.size === 0) return lines;
  const names = `Gradcheck tests each backward line alone, so it names only d${verdict.named}.`;
  return [...lines, make("p", { class: "quiet" }, names)];
}

function consequences({ named, wrong }, pass) {
  if (wrong.size === 0) {
    return (
      "The mistake is invisible at these numbers: the line adds nothing here, right or wrong. Gradcheck tests each " +
      `line alone with a random gradient, and names d${named}.`
    );
  }
  const inherited = [...wrong].filter((name) => name !== named).map((name) => `d${name}`);
  if (inherited.length === 0) return "No other gradient is computed from it, so no other one is wrong.";
  const one = inherited.length === 1;
  const which = one
    ? "One gradient that is computed from it is"
    : `${inherited.length} gradients that are computed from it are`;
  return `${which} wrong ${pass.stopped ? "or missing" : "too"}, although the lines are right: ${inherited.join(", ")}.`;
}

/** If the line's result has another shape than its tensor: what += makes of it. */
function otherShape(mistake, verdict, pass, values) {
  const part = pass.parts[verdict.named]?.find((one) => one.step === mistake.step);
  const shape = values[verdict.named].shape;
  if (!part || String(part.value.shape) === String(shape)) return null;
  const [ours, right] = [part.value.shape, shape].map((sizes) => sizes.join("×") || "a number");
  const result = `The line's result is ${ours} instead of ${right}`;
  if (verdict.wrong.size > 0) return `${result}. ${consequences(verdict, pass)}`;
  return (
    `${result}, but += broadcasts it, so no number is wrong here. Gradcheck tests each line alone, and names ` +
    `d${verdict.named}.`
  );
}

/** What a changed weight does to the outputs, beside what its gradient predicts. */
function changeText({ change, chain, inputs, values, original }) {
  const { name, place, number } = change;
  const before = inputs[name].data[place];
  const moved = chain.steps.filter((step) => distance(values[step.name], original.values[step.name]) > 0);
  const text =
    `${entryOf(name, inputs[name].shape, place)} is ${shown(number)} instead of ${shown(before)}. ` +
    `${moved.length} of ${chain.steps.length} tensors of the forward pass change.`;
  const gradient = original.pass.gradients[name];
  if (!gradient) return make("p", {}, text);
  const outputs = chain.outputs.map((output) => ({ output, above: decoded(chain.above[output]).data }));
  const isLoss = outputs.length === 1 && outputs[0].above.length === 1 && outputs[0].above[0] === 1;
  const what = isLoss ? `the ${chain.outputs[0]}` : "all outputs together, each number times its gradient from above,";
  const changes = outputs.flatMap(({ output, above }) =>
    [...above].map((weight, at) => weight * (values[output].data[at] - original.values[output].data[at])),
  );
  const predicted = shown(gradient.data[place] * (number - before));
  const actual = shown(changes.reduce((sum, one) => sum + one, 0));
  return make("p", {}, `${text} Its gradient predicts a change of ${what} by ${predicted}; the change is ${actual}.`);
}

/** How to read the view. */
function chainLegend(chain) {
  const items = [
    "Arrow keys: up and down choose a tensor, left and right take a step. The step just taken is underlined.",
    "Heat maps: orange is positive, blue negative, and the strongest colour is the number at the ±. Pink is not a " +
      "finite number. The first index is the row.",
    "d before a name is the gradient of the loss with respect to that tensor. “So far”: some lines have not added " +
      "their part yet.",
    "One line can be broken at a time; breaking another one repairs the first.",
    "Gradcheck (makemore gradcheck) compares each backward line with autograd by itself, so that it names the wrong " +
      "line and not those that inherit its error.",
  ];
  if (chain.legend) items.unshift(`Shapes: ${chain.legend}.`);
  if (chain.layers.some((layer) => layer.fused)) {
    items.push(
      "Line by line is the pass that gradcheck checks. Fused is the pass that trains: one expression for a layer.",
    );
  }
  const list = items.map((item) => make("li", {}, item));
  return make("details", { class: "legend" }, make("summary", {}, "How to read this page"), make("ul", {}, list));
}

/** Whether the page's own numbers are those that PyTorch computed when the page was written, and autograd's. */
function agreementWithPyTorch({ chain, original }) {
  const passes = [original.pass, ...(chain.live ? [chainBackward(chain, original.values, { fused: true })] : [])];
  const stopped = passes.map((pass) => pass.stopped).find(Boolean);
  const other = notAsPyTorch(chain, original.values, passes);
  const count = Object.keys(chain.fingerprints).length;
  const then = "that PyTorch computed when this page was written";
  const lines = [
    other.length > 0
      ? ["wrong", `The page's numbers differ from those ${then}: ${other.join(", ")}.`]
      : ["quiet", `Unbroken and unchanged, all ${count} values and gradients agree with those ${then}.`],
  ];
  if (stopped) lines.unshift(["wrong", `The page can't run the line for ${stopped}.`]);
  const wrong = chain.wrong.map((name) => `d${name}`).join(", ");
  if (wrong)
    lines.push(["wrong", `The chain's lines disagree with autograd in ${wrong}. Gradcheck says which line is wrong.`]);
  else lines.push(["quiet", "The chain's lines agree with autograd."]);
  return make(
    "div",
    { class: "proof" },
    lines.map(([kind, text]) => make("p", { class: kind }, text)),
  );
}
