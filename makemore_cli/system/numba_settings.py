"""Numba's settings, without those from a file `.numba_config.yaml` in the working folder.

Such a file could name the cache folder of compiled functions, which are pickles and run any code when they are read.
Import this module before Numba. Environment variables (NUMBA_…) keep their effect.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

SETTINGS = "numba.core.config"


def _import_settings() -> None:
    """Import Numba's settings as if it could not read YAML."""
    yaml = sys.modules.get("yaml")
    sys.modules["yaml"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A Numba config file is found")
            importlib.import_module(SETTINGS)
    finally:
        del sys.modules["yaml"]
        if yaml is not None:
            sys.modules["yaml"] = yaml


if SETTINGS not in sys.modules:
    _import_settings()
# Numba looks for the file again whenever it compiles something.
sys.modules[SETTINGS]._config_fname = os.devnull  # type: ignore[attr-defined]
