"""One HTML file with its scripts, styles and data inside, which needs no network and no server.

The scripts are the files in `static`, as they are written: no build comes between the source and the page. They are
classic scripts, which see each other's top-level names, in the order of `scripts_of`. The page's security policy
allows these scripts only, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from makemore_cli.system.files import check_replaceable, write_atomically

STATIC = Path(__file__).parent / "static"


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.js" for name in names.split())


@dataclass(frozen=True)
class View:
    """A part of a page that is drawn by a script: the function `{name}View`."""

    name: str
    title: str
    scripts: tuple[str, ...]
    style: str  # a style sheet, besides the page's own


BASE = _in("base", "dom address tensors saving keyboard")  # of all pages, before the views' own
LAST = _in("base", "page")
STYLE, REPORT_STYLE = "base/page.css", "base/report.css"
CHAIN = View(
    "chain",
    "The chain",
    (
        *_in("chain", "tensor_operations tensor_functions expression chain heat_map chain_state chain_graph"),
        *_in("chain", "tensor_detail chain_texts chain_view"),
    ),
    "chain/chain_view.css",
)
PLAY = View(
    "play",
    "Play",
    (
        *_in("network", "random network letters"),
        *_in("play", "name_kinds next_character context_effects sampled_names principal_components labels_apart"),
        *_in("play", "embedding_map guessing_game guessing_card play_view"),
    ),
    "play/play_view.css",
)
TRAIN = View(
    "train",
    "Train",
    (
        *_in("network", "random network letters pass kernels simd_kernels"),
        *_in("train", "mistakes gradient_check trainer training_worker training_names training_run train_state"),
        *_in("train", "charts loss_curve loss_plot train_controls pass_editor train_results train_view"),
    ),
    "train/train_view.css",
)


def scripts_of(views: Iterable[View]) -> tuple[str, ...]:
    """The files of the scripts that views need, each once, in order."""
    own = [script for view in views for script in view.scripts]
    return tuple(dict.fromkeys([*BASE, *own, *LAST]))


def write_page(path: Path, title: str, about: str, views: Iterable[View], data: Mapping[str, Any]) -> None:
    """Write a page of views. Raises MakemoreError if makemore did not make the file that is there."""
    check_replaceable(path)
    page = templates().get_template("page/page.html.jinja").render(title=title, about=about, **parts(views, data))
    write_atomically(path, page.encode(errors="backslashreplace"))


def parts(views: Iterable[View], data: Mapping[str, Any], style: str | None = None) -> dict[str, Any]:
    """What a template needs to hold views: the views, the styles (`style` last), the scripts and the data."""
    views = tuple(views)
    styles = [STYLE, *(view.style for view in views), *([] if style is None else [style])]
    scripts = {Path(file).name: f"\n{_static(file)}" for file in scripts_of(views)}
    return {
        "views": views,
        "style": Markup("\n".join(map(_static, styles))),
        "scripts": {name: Markup(script) for name, script in scripts.items()},
        "hashes": Markup(" ".join(f"'sha256-{_hash(script)}'" for script in scripts.values())),
        "data": Markup(embedded(data)),
    }


def templates() -> Environment:
    """The templates of pages and reports, in which everything is escaped."""
    loader = PackageLoader("makemore_cli.views", ".")
    options: Any = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=loader, **options)


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element, whatever it holds: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def encoded(array: NDArray[Any]) -> dict[str, Any]:
    """An array for the page: its shape, the type of its numbers, and their bytes in little-endian order.

    Float64 stays; other real numbers become float32. Whole numbers become int32, or float64 if they are large.
    """
    if array.dtype.kind == "f":
        kind = "f64" if array.dtype == np.float64 else "f32"
    else:
        kind = "f64" if array.size and np.abs(array).max() > np.iinfo(np.int32).max else "i32"
    plain = np.ascontiguousarray(array, dtype={"f64": "<f8", "f32": "<f4", "i32": "<i4"}[kind])
    return {"shape": list(array.shape), kind: base64.b64encode(plain.tobytes()).decode()}


def _hash(script: str) -> str:
    """By which the security policy tells the page's own scripts from any other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _static(file: str) -> str:
    return (STATIC / file).read_text(encoding="utf-8")
