"""The source of an exercise on one gradient of a chain, from the chain itself."""

from __future__ import annotations

import textwrap

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.step import Step, arguments
from makemore_cli.errors import MakemoreError
from makemore_cli.learn.exercise import MARKER, Entry, Source

WIDTH = 88
GRADIENT = (
    "A name with d in front is the gradient of the loss with respect to that tensor. You need not use all of them."
)
SEED = " dloss is the gradient of the loss itself: 1 in training, but any number here, so multiply by it."
SIZES = {
    "n": "n examples",
    "T": "context length T",
    "E": "embedding size E",
    "H": "H hidden units",
    "V": "V characters",
}


def readers(chain: Chain, tensor: str) -> list[Step]:
    """The steps that pass a gradient back to a tensor. Raises MakemoreError if there is none."""
    found = [s for s in chain.steps if f"d{tensor}" in s.backward]
    if not found:
        raise MakemoreError(f"{chain.name}: {tensor} has no gradient")
    return found


def names(chain: Chain, tensor: str) -> list[str]:
    """The arguments of the learner's function: all that the steps read and compute, and the steps' gradients."""
    steps = readers(chain, tensor)
    read = [name for s in steps for line in (s.forward, s.backward[f"d{tensor}"]) for name in arguments(line)]
    outputs = [s.name for s in steps if s.name not in chain.outputs]
    above = [f"d{s.name}" for s in steps]
    return list(dict.fromkeys([*(name for name in read if name not in above), *outputs, *above]))


def gradient_source(chain: Chain, entry: Entry) -> Source:
    """A file with a function of one line, whose header says what was computed, what comes in, and what is asked."""
    tensor = entry.check.gradient or ""
    steps, given = readers(chain, tensor), names(chain, tensor)
    shapes = {f"d{name}": shape for name, shape in chain.shapes.items()} | chain.shapes
    number = entry.name.partition("_")[0]
    head = [f'"""{number}: {entry.title}', "", "The forward pass computed", ""]
    head += [f"    {s.name} = {line_text(s.forward)}" for s in steps]
    if entry.text:
        head += ["", *(line for part in entry.text.strip().split("\n\n") for line in _paragraph(part))]
    head += ["", "Arguments:", ""]
    head += [f"    {name:<{max(map(len, given))}}  {_shape(shapes, name)}" for name in given]
    used = ", which is used in two of the lines above" if len(steps) > 1 else ""
    legend = [SIZES[size] for size in chain.sizes if size in SIZES]
    head += ["", *_paragraph(f"{GRADIENT}{SEED if 'dloss' in given else ''}")]
    asked = (
        f"Write d{tensor}, the gradient of the loss with respect to {tensor}{used}. It has the same shape as {tensor}."
    )
    head += ["", *_paragraph(asked)]
    if legend and chain.name == "the network":
        head += ["", *_paragraph(f"({', '.join(legend)})")]
    head += ['"""', "", "import torch", "import torch.nn.functional as F", "", ""]
    head.append(f"def d{tensor}({', '.join(given)}):")
    parts = [line_text(s.backward[f"d{tensor}"]) for s in steps]
    solution = " + ".join(parts if len(parts) == 1 else map(_in_a_sum, parts))
    return Source(tuple(head), (f"    return torch.zeros_like({tensor})  {MARKER}",), (f"    return {solution}",))


def _in_a_sum(text: str) -> str:
    return text if text.startswith(("torch.", "(")) else f"({text})"


def _paragraph(text: str) -> list[str]:
    if text.startswith("    "):  # a picture
        return ["", *text.split("\n")]
    return textwrap.wrap(" ".join(text.split()), WIDTH)


def _shape(shapes: dict[str, str], name: str) -> str:
    if name not in shapes:
        return "a number"
    dimensions = shapes[name].split()
    comma = "," if len(dimensions) == 1 else ""
    return f"({', '.join(dimensions)}{comma})" if dimensions else "a single number"
