"""Train the makemore character MLP with hand-written gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makemore_cli.backprop.chain import Chain, chain
    from makemore_cli.backprop.inputs import between, given, index, positive
    from makemore_cli.backprop.step import step

__version__ = "0.1.0"
__all__ = ["Chain", "between", "chain", "given", "index", "positive", "step"]

_MODULES = {
    **dict.fromkeys(("Chain", "chain"), "makemore_cli.backprop.chain"),
    "step": "makemore_cli.backprop.step",
    **dict.fromkeys(("between", "given", "index", "positive"), "makemore_cli.backprop.inputs"),
}


def __getattr__(name: str) -> Any:
    """Import on first use what declares a chain, since it imports PyTorch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
