"""Files that come with the package: the bundled names and the configurations."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def bundled(relative: str) -> Path:
    """Path of a bundled file, such as "data/names.txt" or "configs/quickstart.yaml".

    An installed package has them in its folder `bundled`; a checkout (an editable install) has them at its top level.
    """
    installed = PACKAGE / "bundled"
    return (installed if installed.is_dir() else PACKAGE.parent) / relative
