"""A chain from a user's Python file."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

from makemore_cli.backprop import chain as chains
from makemore_cli.backprop import inputs
from makemore_cli.backprop.chain import Chain
from makemore_cli.errors import MakemoreError
from makemore_cli.gradcheck.user_code import Cell, read_cells
from makemore_cli.gradcheck.user_file import at_home, blame, libraries

NAME = "chain"  # of the one that counts, if there are several


def load_chain(path: Path) -> Chain:
    """The chain that a file declares, by running the file.

    Raises MakemoreError, with the user's line, if the file can't be run, or holds no chain or several.
    """
    cells = read_cells(path)
    module = ModuleType(path.stem)
    helpers = {"step": chains.step, "Chain": Chain, **{name: getattr(inputs, name) for name in inputs.DOMAINS}}
    module.__dict__.update(libraries(), **helpers, __file__=str(path))
    module.__dict__[NAME] = chains.chain
    with at_home(path):
        _run(cells, module, path)
    found = {name: value for name, value in vars(module).items() if isinstance(value, Chain)}
    different = list({id(one): one for one in found.values()}.values())
    if NAME in found:
        return found[NAME]
    if len(different) == 1:
        return different[0]
    if not found:
        raise MakemoreError(
            f"{path}: declares no chain; `makemore gradcheck --chain-template` prints one to start from"
        )
    raise MakemoreError(
        f"{path}: declares several chains, {', '.join(found)}; name the one to be checked `{NAME}`, or keep one"
    )


def _run(cells: list[Cell], module: ModuleType, path: Path) -> None:
    for cell in cells:
        try:
            exec(compile(ast.Module(cell.statements, []), cell.where, "exec", dont_inherit=True), module.__dict__)
        except (Exception, SystemExit) as error:
            raise blame(path, {one.where for one in cells}, error) from None
