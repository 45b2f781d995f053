"""Numba's settings, without those that may lie in the working folder, in a file `.numba_config.yaml`.

They could name the folder of compiled functions; and these are pickles, which run whatever they like once they are
read. To be imported before Numba is. The environment's settings (NUMBA_…) are left as they are.
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
# The file is looked for again whenever something is compiled.
sys.modules[SETTINGS]._config_fname = os.devnull  # type: ignore[attr-defined]
