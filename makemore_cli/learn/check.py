"""Check a learner's file: run it on new random arguments, compare it with the solution, and explain a mistake."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from makemore_cli.errors import MakemoreError
from makemore_cli.learn import results
from makemore_cli.learn.blame import blame
from makemore_cli.learn.course import Course
from makemore_cli.learn.exercise import Exercise
from makemore_cli.learn.verdict import Verdict, sentence

TRIALS = 4
TOLD_ARGUMENTS = 5  # at most, and only numbers

Function = Callable[..., Any]


def check(course: Course, exercise: Exercise, path: Path, text: str, seed: int) -> Verdict:
    """The verdict on the text of a learner's file, on arguments drawn with a seed."""
    name = exercise.name
    if exercise.source.is_unwritten(text):
        return Verdict(name, "not written", ("not written yet",))
    try:
        return check_module(course, exercise, run(text, path), path, seed)
    except MakemoreError as error:
        return Verdict(name, "failed", (str(error),))


def check_module(course: Course, exercise: Exercise, module: ModuleType, path: Path, seed: int) -> Verdict:
    """The verdict on the function in a module, whose source is at `path`. Raises MakemoreError if it does not run."""
    if exercise.entry.check.chain is not None:
        from makemore_cli.learn.check_gradient import check_gradient

        return check_gradient(course, exercise, module, path, seed)
    return _check_values(course, exercise, module, path, seed)


def run(text: str, path: Path) -> ModuleType:
    """A learner's file as a module. Raises MakemoreError, with the line, if it can't be run."""
    module = ModuleType(path.stem)
    module.__dict__["__file__"] = str(path)
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise blame(path, error) from None
    return module


def function_of(module: ModuleType, name: str, path: Path) -> Function:
    """The function to check. Raises MakemoreError if the file no longer has it."""
    found = getattr(module, name, None)
    if not callable(found):
        raise MakemoreError(f"{path.name}: has no function {name} any more; put it back, or reset the exercise")
    return found  # type: ignore[no-any-return]


def call(function: Function, arguments: Sequence[Any], path: Path, observe: Function | None = None) -> Any:
    """The result of a learner's function on copies of the arguments, or what `observe` makes of it and of them.

    Raises MakemoreError, with the line, if the function raises an error.
    """
    return watched_call(function, arguments, path, observe)[0]


def watched_call(
    function: Function, arguments: Sequence[Any], path: Path, observe: Function | None = None
) -> tuple[Any, list[str]]:
    """The same, and the names of the tensors among the arguments that the function changed in place."""
    copies = copy.deepcopy(list(arguments))
    try:
        result = function(*copies)
    except (Exception, SystemExit) as error:
        raise blame(path, error) from None
    pairs = zip(inspect.signature(function).parameters, arguments, copies, strict=False)
    changed = [name for name, before, after in pairs if results.is_changed_tensor(before, after)]
    return (result if observe is None else observe(result, *copies)), changed


def in_place(name: str, changed: Sequence[str]) -> str:
    """A sentence on tensors that a function must not change."""
    return f"{name} changes {' and '.join(changed)} in place, which other lines still need: work on a copy."


def _check_values(course: Course, exercise: Exercise, module: ModuleType, path: Path, seed: int) -> Verdict:
    check = exercise.entry.check
    name = check.function or ""
    ours = function_of(module, name, path)
    theirs = function_of(run(exercise.source.solved, path), name, path)
    draw = random.Random(seed)
    observe = None if check.observe is None else getattr(course.draws, check.observe)
    trials = [tuple(getattr(course.draws, check.draw or "")(draw)) for _ in range(check.trials)]
    with precision(trials):
        watched = [watched_call(ours, trial, path, observe) for trial in trials]
        got = [result for result, _ in watched]
        with redirect_stdout(StringIO()):  # only what the learner's code prints is shown
            right = [call(theirs, trial, path, observe) for trial in trials]
        told = [_told(a, b, check.margin) for a, b in zip(got, right, strict=True)]
        first = next((place for place, one in enumerate(told) if one), None)
        if first is None:
            changed = next((names for _, names in watched if names), None)
            if check.keeps and changed:
                return Verdict(exercise.name, "wrong", (in_place(name, changed),), diagnosed=True)
            return Verdict(exercise.name, "solved")
        why = typical(exercise, name, trials, got, path, observe) or results.factor(got, right)
    where = f"{_called(name, theirs, trials[first])}: {told[first]}"
    sentences = (where,) if why is None else (where, why)
    return Verdict(exercise.name, "wrong", tuple(map(sentence, sentences)), diagnosed=why is not None)


def _told(ours: Any, theirs: Any, margin: float | None) -> str | None:
    """What is wrong with a result, or None."""
    if margin is None:
        return results.difference(ours, theirs)
    if isinstance(ours, float) and ours <= theirs + margin:  # False for NaN
        return None
    return f"the loss is {results.shown(ours)}, and must be at most {theirs + margin:.4f}"


def precision(trials: Sequence[Sequence[Any]]) -> Any:
    """Float64 throughout, if there are tensors."""
    if not any(type(argument).__module__ == "torch" for trial in trials for argument in trial):
        return nullcontext()
    import torch

    from makemore_cli.checks.in_float64 import in_precision

    return in_precision(torch.float64)


def typical(
    exercise: Exercise,
    name: str,
    trials: Sequence[Sequence[Any]],
    got: Sequence[Any],
    path: Path,
    observe: Function | None = None,
) -> str | None:
    """What is wrong, if the results are those of a typical mistake; None if they are of none."""
    for mistake in exercise.source.mistakes:
        try:
            wrong = function_of(run(exercise.source.written(mistake.lines), path), name, path)
            with redirect_stdout(StringIO()):
                pairs = ((a, call(wrong, trial, path, observe)) for a, trial in zip(got, trials, strict=True))
                if all(results.difference(a, b) is None for a, b in pairs):
                    return mistake.says
        except MakemoreError:  # a mistake may raise
            continue
    return None


def _called(name: str, function: Function, arguments: Sequence[Any]) -> str:
    """The call with those arguments that are numbers."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    numbers = [(p, a) for p, a in zip(parameters, arguments, strict=True) if isinstance(a, (int, float))]
    if not 0 < len(numbers) <= TOLD_ARGUMENTS:
        return name
    others = ["…"] if len(numbers) < len(arguments) else []
    return f"{name}({', '.join([*others, *(f'{p}={results.shown(a)}' for p, a in numbers)])})"
