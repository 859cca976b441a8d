"""`nasctl report`: tables from what is stored, beside the paper's numbers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import OverrideType, settings_of
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.errors import MachineError, UsageError
from nasctl.files import path_of

if TYPE_CHECKING:
    from nasctl.reports.plots import Picture
    from nasctl.reports.table import Table
    from nasctl.tracking.records import Tracker

__all__ = ["report"]

FORMATS = {"md": "markdown", "latex": "latex", "csv": "csv"}
"""What --format takes -> the name in `reports.render`."""

CONTROLLER = "controller"
"""The word before the names of searches."""

MOST_COMPARED = 12
"""Pairs grow with the square: beyond this many results they are compared only when asked for."""

EXAMPLES = """
nasctl report                            every table that has results of yours
nasctl report 1 5                        Tables 1 and 5, beside the paper's
nasctl report 6 --out report             the cells that won, drawn
nasctl report 1 --format latex --out paper/tables
nasctl report studies --format csv > studies.csv
nasctl report controller --out controllers
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@click.argument("tables", nargs=-1, type=OverrideType(), metavar="[TABLE]... [KEY=VALUE]...")
@click.option("--conf", "conf_dirs", multiple=True, metavar="DIR", help="A folder of your own groups.")
@click.option("--format", "shape", type=click.Choice(list(FORMATS)), default="md", show_default=True, help="How.")
@click.option("--out", metavar="DIR", help="Write one file per table there, instead of to stdout.")
def report(tables: tuple[str, ...], conf_dirs: tuple[str, ...], shape: str, out: str | None) -> None:
    """Tables from all that ran, beside the paper's numbers.

    TABLE is 1, 2, 5 or 6 (the paper's), studies, runs, or compare (differences on the same test pairs). Scores are
    x100. Found cells are drawn in Markdown, as SVG too in a folder where Graphviz is installed, and as text elsewhere.

    `controller` stands first and alone, or before names of searches: what their controllers learned, beside the numbers
    of Adam and Lorraine (2019); with --out its figures, too (SVG and PNG).
    """
    from nasctl.reports.tables import build_tables  # noqa: PLC0415 - --help need not pay for it

    names = [each for each in tables if "=" not in each]
    stores = stores_of(settings_of([each for each in tables if "=" in each], conf_dirs))
    pictures: Iterable[Picture] = ()
    if names[:1] == [CONTROLLER]:
        built, pictures = _controllers(stores, names[1:], drawn=out is not None)
    else:
        if CONTROLLER in names:
            raise UsageError(f"{CONTROLLER} behind another table", f"it comes first: nasctl report {CONTROLLER}")
        path = stores.files().get("tracking")
        if path is not None and not path.exists():
            raise MachineError(f"no runs in {stores.root} yet", "`nasctl train` or `nasctl baseline` makes some")
        tracker = open_tracker(stores)
        built = build_tables(names or _with_results(tracker), tracker, stores.root)
    if out is None:
        _print(built, shape)
    else:
        _write(built, pictures, shape, path_of(out))


def _print(built: Sequence[Table], shape: str) -> None:
    from nasctl.reports.render import FORMATS as RENDERERS  # noqa: PLC0415 - --help need not pay for it
    from nasctl.reports.render import terminal  # noqa: PLC0415 - as above

    render = terminal if shape == "md" and sys.stdout.isatty() else RENDERERS[FORMATS[shape]].render
    click.echo("\n".join(render(table) for table in built), nl=False)


def _write(built: Sequence[Table], pictures: Iterable[Picture], shape: str, folder: Path) -> None:
    """Every table and picture as a file of its own; their paths on stdout."""
    from nasctl.files import write_atomically  # noqa: PLC0415 - --help need not pay for it
    from nasctl.reports.render import FORMATS as RENDERERS  # noqa: PLC0415 - as above

    form = RENDERERS[FORMATS[shape]]
    for table in built:
        file = folder / f"table-{table.name}{form.ending}"
        write_atomically(file, form.render(table))
        click.echo(file)
        for picture in _pictures(table, folder):
            click.echo(picture)
    for each in pictures:
        for ending, content in (("svg", each.svg), ("png", each.png)):
            file = folder / f"figure-{each.name}.{ending}"
            write_atomically(file, content)
            click.echo(file)


def _controllers(stores: Stores, names: Sequence[str], *, drawn: bool) -> tuple[Sequence[Table], Iterable[Picture]]:
    """The tables of the searches' controllers, and if asked for their figures."""
    from nasctl.reports.controller import controller_tables  # noqa: PLC0415 - --help need not pay for it
    from nasctl.reports.examined import examined  # noqa: PLC0415 - as above

    searches = examined(stores.root, names)
    built = controller_tables(searches, open_tracker(stores))
    if not drawn:
        return built, ()
    from nasctl.reports.plots import controller_pictures  # noqa: PLC0415 - matplotlib costs a second

    return built, controller_pictures(searches)


def _pictures(table: Table, folder: Path) -> Iterator[Path]:
    """Write the table's drawings as SVG, where Graphviz is installed."""
    from nasctl.cells.draw import to_picture  # noqa: PLC0415 - --help need not pay for it
    from nasctl.files import write_atomically  # noqa: PLC0415 - as above

    for drawing in {each.name: each for each in table.drawings}.values() if shutil.which("dot") else ():
        file = folder / f"{drawing.name}.svg"
        write_atomically(file, to_picture(drawing.graph, "svg", drawing.caption))
        yield file


def _with_results(tracker: Tracker) -> Sequence[str]:
    """The tables that have something to say about what is stored. Raises MachineError if none has."""
    from nasctl import reference  # noqa: PLC0415 - --help need not pay for it
    from nasctl.reports.results import read_results  # noqa: PLC0415 - as above

    results = read_results(tracker)
    studies = [result for result in results if result.kind == "study"]
    papers = {row.dataset for row in reference.results()}
    ours = [result for result in results if result.dataset in papers and result.trials]
    names = ["studies"] if studies else []
    names += ["runs"] if len(studies) < len(results) else []
    tested = sum(result.test is not None for result in results)
    if tested > MOST_COMPARED:
        click.echo(f"{tested} results, so that pairs are many: `nasctl report compare` compares them", err=True)
    names += ["compare"] if len(results) > 1 and tested <= MOST_COMPARED else []
    names += ["1"] if ours else []
    names += ["2"] if any(result.found_on for result in ours) else []
    names += ["5"] if any(result.kind == "study" for result in ours) else []
    names += ["6"] if any(study.cell for study in studies) else []
    if not names:
        raise MachineError("no runs are stored yet", "`nasctl train` or `nasctl baseline` makes some")
    return names
