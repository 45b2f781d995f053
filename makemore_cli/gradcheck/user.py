"""A user's own backward pass, checked like ours.

The file holds a function `backward`. Its arguments are names of what it wants of the forward pass: the chain's tensors
(`logits`, `h`, `bnvar_inv` …, the parameters), X, Y, and the numbers n, eps and smoothing. It returns a dictionary
of gradients by their names, `{"dlogits": dlogits, …}`; any number of them, so `return locals()` does.

    def backward(logprobs, probs, Y, n):
        dlogprobs = torch.zeros_like(logprobs)
        dlogprobs[range(n), Y] = -1.0 / n
        dprobs = dlogprobs / probs
        return locals()
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import steps
from makemore_cli.errors import MakemoreError
from makemore_cli.parameters import Parameters


class UserPass:
    """A function from a user's file. Raises MakemoreError where there is none that can be called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed: list[str] = []  # what it was given and changed in place, in its last run
        self.unknown: list[str] = []  # what it returned as a gradient of no tensor of the chain
        self.function = self._load()

    def _load(self) -> Callable[..., Any]:
        try:
            source = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise MakemoreError(f"{self.path}: no such file; give a Python file with a function `backward`") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MakemoreError(f"{self.path}: can't be read: {error}") from None
        module = ModuleType(self.path.stem)
        # PyTorch is there without an import, as it is in the notebook.
        module.__dict__.update({"__file__": str(self.path), "torch": torch})
        sys.modules.setdefault(self.path.stem, module)
        sys.path.insert(0, str(self.path.absolute().parent))
        try:
            code = compile(source, str(self.path), "exec", dont_inherit=True)
            with redirect_stdout(sys.stderr):
                exec(code, module.__dict__)
        except (SyntaxError, ValueError) as error:
            if isinstance(error, SyntaxError) and error.filename == str(self.path):
                line = (error.text or "").strip()
                raise MakemoreError(f"{self.path}, line {error.lineno}: {error.msg}: {line}") from None
            raise self._blame(error) from None
        except (Exception, SystemExit) as error:
            raise self._blame(error) from None
        function = module.__dict__.get("backward")
        if not callable(function):
            raise MakemoreError(f"{self.path}: has no function `backward`; see `makemore gradcheck --help`")
        return function  # type: ignore[no-any-return]

    def gradients(self, p: Parameters, X: Tensor, Y: Tensor, eps: float, smoothing: float = 0.0) -> dict[str, Any]:
        """Run the function on a batch's forward pass. Raises MakemoreError, which shows the user's line."""
        values = steps.forward(p, X, Y, eps=eps, smoothing=smoothing)
        given = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in values.items()}
        wanted = [
            name
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and (name in given or parameter.default is parameter.empty)
        ]
        for name in wanted:
            if name not in given:
                raise MakemoreError(
                    f"{self.path}: `backward` asks for {name}, which the forward pass has not; "
                    f"it has {', '.join(given)}"
                )
        try:
            with torch.no_grad(), redirect_stdout(sys.stderr):
                returned = self.function(**{name: given[name] for name in wanted})
        except (Exception, SystemExit) as error:
            raise self._blame(error) from None
        if not isinstance(returned, dict):
            raise MakemoreError(
                f"{self.path}: `backward` returned {type(returned).__name__}, not a dictionary; "
                'write return {"dlogits": dlogits, …} or return locals()'
            )
        self.changed = [name for name in wanted if _changed(given[name], values[name])]
        named = {k[1:]: v for k, v in returned.items() if isinstance(k, str) and k[:1] == "d" and k not in given}
        known = steps.gradient_names(steps.steps(p.b1 is not None))
        self.unknown = [f"d{name}" for name, v in named.items() if isinstance(v, Tensor) and name not in known]
        return {name: named[name] for name in known if name in named}

    def _blame(self, error: BaseException) -> MakemoreError:
        """The innermost line of the user's file that the error went through."""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path)]
        where = f"{self.path}, line {frames[-1].lineno}" if frames else str(self.path)
        line = f": {frames[-1].line}" if frames else ""
        message = " ".join(str(error).split())
        return MakemoreError(f"{where}: {type(error).__name__}: {message}{line}")


def _changed(now: object, then: object) -> bool:
    if not isinstance(now, Tensor) or not isinstance(then, Tensor):
        return False
    return now.shape != then.shape or not bool(((now == then) | (now.isnan() & then.isnan())).all())
