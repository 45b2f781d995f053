"""The values that a function's local variables take while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from torch import Tensor


class LocalVariables:
    """Follows the local variables of one function while it runs.

    `final` has all of them at the end. `values` has, for each tensor among them, every value that it had, in order.
    """

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.final: dict[str, Any] = {}
        self.values: dict[str, list[Tensor]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._before: Any = None

    def __enter__(self) -> LocalVariables:
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return self._stepped if frame.f_code is self.code else None

    def _stepped(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        self.final = dict(frame.f_locals)
        for name, value in self.final.items():
            if isinstance(value, Tensor):
                mark = id(value), value._version
                if self._seen.get(name) != mark:
                    self._seen[name] = mark
                    self.values.setdefault(name, []).append(value.detach().clone())
        return self._stepped
