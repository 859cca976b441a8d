"""`nasctl report`: tables from what is stored, beside the paper's numbers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import OverrideType, settings_of
from nasctl.cli.stores import open_tracker, stores_of
from nasctl.errors import MachineError

if TYPE_CHECKING:
    from nasctl.reports.table import Table
    from nasctl.tracking.records import Tracker

__all__ = ["report"]

FORMATS = {"md": "markdown", "latex": "latex", "csv": "csv"}
"""What --format takes -> the name in `reports.render`."""

MOST_COMPARED = 12
"""Pairs grow with the square: beyond this many results they are compared only when asked for."""

EXAMPLES = """
nasctl report                            every table that has results of yours
nasctl report 1 5                        Tables 1 and 5, beside the paper's
nasctl report 6 --out report             the cells that won, drawn
nasctl report 1 --format latex --out paper/tables
nasctl report studies --format csv > studies.csv
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
    """
    from nasctl.files import write_atomically  # noqa: PLC0415 - --help need not pay for it
    from nasctl.reports.render import FORMATS as RENDERERS  # noqa: PLC0415 - as above
    from nasctl.reports.render import terminal  # noqa: PLC0415 - as above
    from nasctl.reports.tables import build_tables  # noqa: PLC0415 - as above

    names = [each for each in tables if "=" not in each]
    stores = stores_of(settings_of([each for each in tables if "=" in each], conf_dirs))
    path = stores.files().get("tracking")
    if path is not None and not path.exists():
        raise MachineError(f"no runs in {stores.root} yet", "`nasctl train` or `nasctl baseline` makes some")
    tracker = open_tracker(stores)
    built = build_tables(names or _with_results(tracker), tracker)
    form = RENDERERS[FORMATS[shape]]
    if out is None:
        render = terminal if shape == "md" and sys.stdout.isatty() else form.render
        click.echo("\n".join(render(table) for table in built), nl=False)
        return
    for table in built:
        file = Path(out).expanduser() / f"table-{table.name}{form.ending}"
        write_atomically(file, form.render(table))
        click.echo(file)
        for picture in _pictures(table, file.parent):
            click.echo(picture)


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
    ours = [result for result in results if result.dataset in papers]
    names = ["studies"] if studies else []
    names += ["runs"] if len(studies) < len(results) else []
    names += ["compare"] if 1 < len(results) <= MOST_COMPARED else []
    names += ["1"] if ours else []
    names += ["2"] if any(result.found_on for result in ours) else []
    names += ["5"] if any(result.kind == "study" for result in ours) else []
    names += ["6"] if any(study.cell for study in studies) else []
    if not names:
        raise MachineError("no runs are stored yet", "`nasctl train` or `nasctl baseline` makes some")
    return names
