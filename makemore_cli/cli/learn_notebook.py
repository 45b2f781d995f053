"""`makemore learn notebook`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli.learn import learn_app
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output


@learn_app.command(epilog="Example: makemore learn notebook first.ipynb --only A,B")
def notebook(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Notebook to write; it must not exist. Default: exercises.ipynb."),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="A,B", help="Sections to write, such as A,C,E. Default: all.")
    ] = None,
    course: Annotated[Path | None, typer.Option("--course", metavar="FOLDER", help="Folder of another course.")] = None,
) -> None:
    """Write the exercises as a Jupyter notebook, with a check below each."""
    from makemore_cli.learn.course import BUNDLED, load_course
    from makemore_cli.learn.course import only as in_sections
    from makemore_cli.learn.notebook import notebook as content
    from makemore_cli.system.files import write_atomically

    path = file or Path("exercises.ipynb")
    if path.exists() or path.is_symlink():
        raise MakemoreError(f"{path}: exists already; choose another name")
    chosen = load_course(BUNDLED if course is None else course.absolute())
    names = list(chosen.names) if only is None else in_sections(chosen, only.split(","))
    write_atomically(path, content(chosen, names))
    output.print_lines([str(path)])
