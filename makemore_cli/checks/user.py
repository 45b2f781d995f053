"""A user's own backward pass, run on our forward pass.

The file has a function `backward`, or is a script of assignments as in the lecture's notebook, or a notebook. The names
of the forward pass are available as the function's arguments and as global names: the chain's tensors (`logits`, `h`,
`bnvar_inv` …), the parameters, X, Y, the numbers n, eps and smoothing, and the notebook's names (Xb, Yb, batch_size …).
PyTorch and NumPy need no import.

    def backward(logprobs, probs, Y, n):
        dlogprobs = torch.zeros_like(logprobs)
        dlogprobs[range(n), Y] = -1.0 / n
        dprobs = dlogprobs / probs
        return locals()

A function returns any number of gradients: by name, or as a list of named variables or in the parameters' order.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from makemore_cli.backprop.step import Values
from makemore_cli.checks.forward_code import assignments
from makemore_cli.checks.in_float64 import in_precision
from makemore_cli.checks.local_variables import LocalVariables
from makemore_cli.checks.returned_gradients import by_name
from makemore_cli.checks.user_code import Cell, backward_slice, begins_anew, binds, read_cells, writes
from makemore_cli.checks.user_file import at_home, blame, libraries
from makemore_cli.errors import MakemoreError


@dataclass(frozen=True)
class Names:
    """The names of a forward pass, for a user's backward pass on it."""

    tensors: frozenset[str]
    numbers: frozenset[str]  # plain numbers, such as n and eps
    orders: tuple[tuple[str, ...], ...]  # of the gradients in a list, the usual one first
    # Other names: of tensors and numbers; and of sizes, by a tensor and its dimension.
    aliases: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    by_position: bool = False  # whether a tuple's order counts, whatever the names of the variables

    @cached_property
    def given(self) -> frozenset[str]:
        """All names that a pass may read."""
        return frozenset({*self.tensors, *self.numbers, *self.aliases, *self.sizes})

    @cached_property
    def gradients(self) -> frozenset[str]:
        return frozenset(f"d{name}" for name in self.tensors)

    def copies(self, values: Values) -> dict[str, Any]:
        """Copies of a forward pass, under all its names."""
        given = {name: _copy(value) for name, value in values.items()}
        given |= {alias: given[name] for alias, name in self.aliases.items()}
        return given | {name: values[tensor].shape[dim] for name, (tensor, dim) in self.sizes.items()}


@dataclass
class UserGradients:
    """The results of one pass in one run."""

    name: str  # the file's, and the cell's if there are several passes
    gradients: dict[str, Any]  # by the tensor's name; a user's may be of any type
    earlier: dict[str, Any] = field(default_factory=dict)  # those of the passes before it in the same file
    changed: list[str] = field(default_factory=list)  # forward values that it changed in place
    unknown: list[str] = field(default_factory=list)  # names like a gradient's, but of no tensor of the chain
    single: bool = False  # whether a run in float64 used float32, and so is no more precise
    shared: list[tuple[str, ...]] = field(default_factory=list)  # gradients that share memory
    # If local variables are followed: the values of those that are named as gradients but not returned, and all
    # variables at the end.
    kept: dict[str, list[Tensor]] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)  # those of them that have been taken for gradients
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def visible(self) -> dict[str, Any]:
        """All gradients that exist at its end."""
        return {**self.earlier, **self.gradients}


class Pass(Protocol):
    """A user's backward pass that can be checked."""

    @property
    def name(self) -> str:
        """Its name in a report."""

    @property
    def names(self) -> Names: ...

    @property
    def why_once(self) -> str:
        """Why it can't be run on other values, or "" if it can."""

    @property
    def after_a_change(self) -> str:
        """What else to do, besides working on a copy, if it has changed a forward value in place."""

    @property
    def follow_locals(self) -> bool:
        """Whether local variables are followed, so that those named as gradients count too."""

    @property
    def definition(self) -> ast.FunctionDef | None:
        """The source of a function `backward`, if there is one."""

    @property
    def scope(self) -> Mapping[str, Any]:
        """The names that the function can read."""

    def run(self, values: Values, order: Sequence[str]) -> list[UserGradients]:
        """Run it on a forward pass; `order` lists the tensors that have gradients. Raises MakemoreError."""


class UserPass:
    """A backward pass from a user's file. Raises MakemoreError if there is none that can be run."""

    why_once = after_a_change = ""

    def __init__(self, path: Path, names: Names, *, follow_locals: bool = False) -> None:
        self.path, self.names, self.follow_locals = path, names, follow_locals
        self.name = path.name
        self._cells = read_cells(path)
        self._is_function = binds(self._cells, "backward") and not self._is_helper()
        self._modules: dict[torch.dtype, tuple[ModuleType, frozenset[str]]] = {}
        self._quiet = False  # set after the first run, so that what it prints is shown once
        if self._is_function:
            self._module(torch.float32)
        else:
            self._parts(set(names.gradients), set())

    def run(self, values: Values, order: Sequence[str]) -> list[UserGradients]:
        """Run it on a forward pass, in its precision; `order` lists the tensors that have gradients.

        Raises MakemoreError, with the user's line, if it fails.
        """
        dtype = next(v.dtype for v in values.values() if isinstance(v, Tensor) and v.is_floating_point())
        given = self.names.copies(values)
        try:
            with torch.no_grad(), at_home(self.path, quiet=self._quiet), in_precision(dtype) as mode:
                run = self._run_function if self._is_function else self._run_script
                passes = run(given, dtype, order)
        finally:
            self._quiet = True
        for one in passes:
            one.single = mode.met_float32 or (dtype == torch.float64 and self._mentions_numpy_float32)
            one.changed = [name for name in values if changed(given[name], values[name])]
        return passes

    def _is_helper(self) -> bool:
        """Whether `backward` is a helper that a script calls: it asks for names that no forward pass has."""
        functions = [
            statement
            for cell in self._cells
            for statement in cell.statements
            if isinstance(statement, ast.FunctionDef) and statement.name == "backward"
        ]
        if not functions:
            return False
        arguments = functions[-1].args
        asked = [*arguments.posonlyargs, *arguments.args][: -len(arguments.defaults) or None]
        if {argument.arg for argument in asked} <= self.names.given:
            return False
        return any(writes(cell) & self.names.gradients for cell in self._cells)

    # A function.

    def _module(self, dtype: torch.dtype) -> tuple[ModuleType, frozenset[str]]:
        """The file as a module, run in a precision so that its constants have it, and the names that it defines."""
        if dtype not in self._modules:
            module = ModuleType(self.path.stem)
            module.__dict__.update(libraries(), __file__=str(self.path))
            sys.modules.setdefault(self.path.stem, module)
            needed = backward_slice(self._cells, set(), self.names.given, function="backward")
            with at_home(self.path, quiet=self._quiet), in_precision(dtype):
                try:
                    self._execute(needed if self.path.suffix == ".ipynb" else self._cells, module.__dict__)
                except MakemoreError:  # from code that the function may not need: it reads data, say
                    if needed == self._cells:
                        raise
                    self._execute(needed, module.__dict__)
            backward = module.__dict__.get("backward")
            if not callable(backward) or inspect.isclass(backward):
                kind = "a class" if inspect.isclass(backward) else f"of type {type(backward).__name__}"
                raise MakemoreError(f"{self.path}: `backward` is {kind}, not a function")
            if inspect.iscoroutinefunction(backward):
                raise MakemoreError(f"{self.path}: `backward` is asynchronous; write def backward(…), without async")
            self._modules[dtype] = module, frozenset(module.__dict__)
        return self._modules[dtype]

    def _run_function(self, given: dict[str, Any], dtype: torch.dtype, names: Sequence[str]) -> list[UserGradients]:
        module, defined = self._module(dtype)
        module.__dict__.update({name: value for name, value in given.items() if name not in defined})
        positional, named = _arguments(self.path, module.backward, given)
        watched = nullcontext() if not self.follow_locals else LocalVariables(inspect.unwrap(module.backward).__code__)
        try:
            with watched as local:
                returned = module.backward(*positional, **named)
        except (Exception, SystemExit) as error:
            raise self._blame_shape(error, given, local, names) from None
        gradients = by_name(returned, module.backward, self._cells, given, names, self.names, self.path)
        unknown = [f"d{k}" for k, v in gradients.items() if k not in names and isinstance(v, Tensor | np.ndarray)]
        gradients = {name: gradients[name] for name in names if name in gradients}
        one = UserGradients(self.name, gradients, unknown=unknown, shared=sharing(gradients))
        if local is not None:
            one.kept = {n: local.values[f"d{n}"] for n in names if n not in gradients and f"d{n}" in local.values}
            one.variables = local.final
        return [one]

    # A script or a notebook.

    def _parts(self, gradients: set[str], given: set[str]) -> list[list[Cell]]:
        """The statements that compute gradients, by pass: a cell that computes one again begins another pass."""
        cells = backward_slice(self._cells, gradients, given)
        parts: list[list[Cell]] = []
        known: set[str] = set()
        for cell in cells:
            if not cell.statements:
                continue
            if not parts or begins_anew(cell, known & gradients):
                parts.append([])
            parts[-1].append(cell)
            known |= writes(cell)
        if not known & gradients:
            raise MakemoreError(
                f"{self.path}: has neither a function `backward` nor assignments of gradients, such as dlogits = …; "
                "write one of them"
            )
        return parts

    def _run_script(self, given: dict[str, Any], dtype: torch.dtype, names: Sequence[str]) -> list[UserGradients]:
        gradients = {f"d{name}" for name in names}
        parts = self._parts(gradients, set(given))
        namespace: dict[str, Any] = {**libraries(), **given, "__name__": "__main__", "__file__": str(self.path)}
        passes: list[UserGradients] = []
        for part in parts:
            self._execute(part, namespace)
            written = set().union(*(writes(cell) for cell in part))
            own = {name: namespace[f"d{name}"] for name in names if f"d{name}" in written & namespace.keys()}
            own = {name: gradient for name, gradient in own.items() if gradient is not None}
            if not own:
                continue
            unknown = [
                name
                for name in sorted(written - gradients - given.keys())
                if re.match(r"d[A-Za-z]", name)
                and isinstance(namespace.get(name), Tensor)
                and name[1:] in self.names.tensors
            ]
            where = part[0].where if len(parts) > 1 else str(self.path)
            title = where.replace(str(self.path), self.path.name, 1)
            if len(parts) > 1 and title == self.path.name:
                title = f"{title}, from line {part[0].statements[0].lineno}"
            copies = {
                name: v.clone() if isinstance(v, Tensor) else v for name, v in own.items()
            }  # later cells change them
            earlier = passes[-1].visible if passes else {}
            passes.append(UserGradients(title, copies, earlier, unknown=unknown, shared=sharing(own)))
        return passes

    def _execute(self, cells: Sequence[Cell], namespace: dict[str, Any]) -> None:
        for cell in cells:
            try:
                code = compile(ast.Module(cell.statements, []), cell.where, "exec", self._future, dont_inherit=True)
                exec(code, namespace)
            except (Exception, SystemExit) as error:
                raise self._blame(error) from None

    @cached_property
    def _future(self) -> int:
        """The compiler's flags for what the file imports from __future__."""
        imports = [s for cell in self._cells for s in cell.statements if isinstance(s, ast.ImportFrom)]
        names = {alias.name for statement in imports if statement.module == "__future__" for alias in statement.names}
        return sum(getattr(__future__, name).compiler_flag for name in names if hasattr(__future__, name))

    @property
    def _mentions_numpy_float32(self) -> bool:
        """Whether NumPy may have been asked for float32, which no mode of PyTorch can see."""
        return any(
            isinstance(node, ast.Attribute | ast.Constant)
            and (node.attr if isinstance(node, ast.Attribute) else node.value) in ("float32", "single", "f4")
            and not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch")
            for cell in self._cells
            for statement in cell.statements
            for node in ast.walk(statement)
        )

    @property
    def scope(self) -> dict[str, Any]:
        """The names of the file, and those that need no import."""
        module, _ = self._module(torch.float64)
        return vars(module)

    @cached_property
    def definition(self) -> ast.FunctionDef | None:
        """The function `backward` in the file."""
        found = [s for cell in self._cells for s in cell.statements if isinstance(s, ast.FunctionDef)]
        return next((s for s in reversed(found) if s.name == "backward"), None)

    def _blame_shape(
        self, error: BaseException, given: Mapping[str, Any], local: LocalVariables | None, names: Sequence[str]
    ) -> MakemoreError:
        """The user's error, with the line that gave a gradient the wrong shape or type, if there is one."""
        told = self._blame(error)
        if local is None or self.definition is None:
            return told
        here = {cell.where for cell in self._cells}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in here]
        failed = frames[-1].lineno if frames and frames[-1].lineno else 0
        for name in names:
            gradient, tensor = local.final.get(f"d{name}"), given.get(name)
            if not isinstance(gradient, Tensor) or not isinstance(tensor, Tensor):
                continue
            lines = [line for line, _, _ in assignments(self.definition, f"d{name}") if line < failed]
            if not lines or (gradient.shape == tensor.shape and gradient.is_floating_point()):
                continue
            fault = f"has the shape {tuple(gradient.shape)}, but {name} has {tuple(tensor.shape)}"
            if gradient.shape == tensor.shape:
                fault = f"is of type {str(gradient.dtype).removeprefix('torch.')}"
            return MakemoreError(f"{self.path}, line {lines[-1]}: d{name} {fault}; after that, {told}")
        return told

    def _blame(self, error: BaseException) -> MakemoreError:
        return blame(self.path, {cell.where for cell in self._cells}, error)


def _arguments(path: Path, function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a function asks for by the names of its parameters."""
    positional, named = [], {}
    if [p.kind for p in inspect.signature(function).parameters.values()] == [inspect.Parameter.VAR_POSITIONAL]:
        raise MakemoreError(
            f"{path}: `backward` takes *args, but arguments are given by name: name them, as in "
            "backward(logits, h, n), or take all of them with **kwargs"
        )
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind == parameter.VAR_KEYWORD:
            named.update({k: v for k, v in given.items() if k not in named})
        elif parameter.kind != parameter.VAR_POSITIONAL:
            if name not in given and parameter.default is parameter.empty:
                raise MakemoreError(
                    f"{path}: `backward` asks for {name}, but the forward pass has only {', '.join(given)}"
                )
            if parameter.kind == parameter.POSITIONAL_ONLY:
                positional.append(given.get(name, parameter.default))
            elif name in given:
                named[name] = given[name]
    return positional, named


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(map(_copy, value))
    return {k: _copy(v) for k, v in value.items()} if type(value) is dict else value


def sharing(gradients: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Groups of gradients that share memory, so that changing one changes the others."""
    places: dict[int, list[str]] = {}
    for name, value in gradients.items():
        if isinstance(value, Tensor) and value.layout == torch.strided and value.numel() and not value.is_meta:
            places.setdefault(value.untyped_storage().data_ptr(), []).append(name)
    return [tuple(names) for names in places.values() if len(names) > 1]


def changed(now: object, then: object) -> bool:
    """Whether a tensor has changed."""
    if not isinstance(now, Tensor) or not isinstance(then, Tensor):
        return False
    return now.shape != then.shape or not bool(((now == then) | (now.isnan() & then.isnan())).all())
