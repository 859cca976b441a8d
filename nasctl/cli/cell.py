"""`nasctl cell`: which cells there are, what one is and costs, its drawing, and a folder to use it elsewhere."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasctl.cli.bench import bench
from nasctl.cli.examples import ExampleCommand, ExampleGroup
from nasctl.cli.text import columns, counted, terminal_width
from nasctl.errors import UsageError

if TYPE_CHECKING:
    from nasctl.spaces.named import NamedCell

__all__ = ["cell"]

EXAMPLES = """
nasctl cell list
nasctl cell show enas-24
nasctl cell draw enas-24 --out cell.svg
nasctl cell export enas-24 --out my_project/enas_24
nasctl cell bench enas-24
"""

SHOW_EXAMPLES = """
nasctl cell show lstm
nasctl cell show tanh-0-relu-1-sigmoid   an ENAS code: activations and parents
nasctl cell show mine.txt --format json
"""

DRAW_EXAMPLES = """
nasctl cell draw enas-24 --out cell.svg
nasctl cell draw mine.json --format mermaid
"""

EXPORT_EXAMPLES = """
nasctl cell export gru --out my_project/gru
nasctl cell export enas-24 --out my_project/rnn --weights best.safetensors
nasctl cell export enas-24 --out rnn --weights best.safetensors --layer compose --onnx
"""


def _widths(command: Any) -> Any:
    for name, text in (("--hidden", "Units of the cell"), ("--width", "Width of its input")):
        option = click.option(name, type=click.IntRange(1), default=300, show_default=True, help=f"{text}, to count.")
        command = option(command)
    return command


@click.group(cls=ExampleGroup, examples=EXAMPLES, commands=[bench])
def cell() -> None:
    """Recurrent cells: list them, look at one, use it elsewhere.

    A cell is said by its name in the library, by an ENAS code, or by a file that holds it as JSON or as text.
    """


@cell.command("list")
@_widths
@click.option("--json", "as_json", is_flag=True, help="One JSON object per cell instead of a table.")
def list_cells(*, width: int, hidden: int, as_json: bool) -> None:
    """The library of published cells.

    PARAMETERS are those of one direction; DIGEST is equal where the cells are.
    """
    from nasctl.cells.library import LIBRARY  # noqa: PLC0415 - --help need not pay for it
    from nasctl.cells.rewrite import cell_digest  # noqa: PLC0415 - as above

    alike: dict[str, list[str]] = defaultdict(list)
    for name, each in LIBRARY.items():
        alike[cell_digest(each.graph)].append(name)
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "nodes": _nodes(each.code),
            "steps": len(each.graph.steps),
            "parameters": each.graph.parameters(width, hidden),
            "digest": cell_digest(each.graph),
            "equals": [other for other in alike[cell_digest(each.graph)] if other != name],
            "code": None if each.code is None else "-".join(each.code),
            "source": each.source,
        }
        for name, each in LIBRARY.items()
    ]
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry, ensure_ascii=False))
        return
    header = ("NAME", "NODES", "STEPS", "PARAMETERS", "DIGEST", "EQUALS", "SOURCE")
    rows = [
        (
            entry["name"],
            entry["nodes"] or "",
            entry["steps"],
            f"{entry['parameters']:,}",
            entry["digest"],
            ", ".join(entry["equals"]),
            entry["source"],
        )
        for entry in found
    ]
    click.echo(columns(header, rows, right=("NODES", "STEPS", "PARAMETERS"), width=terminal_width()))
    click.echo(f"\nparameters of one direction, input {width} and hidden {hidden} wide", err=True)


def _nodes(code: tuple[str, ...] | None) -> int | None:
    return None if code is None else (len(code) + 1) // 2


@cell.command(cls=ExampleCommand, examples=SHOW_EXAMPLES)
@click.argument("name", metavar="NAME|FILE|CODE")
@_widths
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "line", "mermaid"]),
    default="text",
    show_default=True,
    help="All about it; all as JSON; the cell alone, as a line or drawn.",
)
def show(name: str, *, width: int, hidden: int, shape: str) -> None:
    """What a cell is, and what it costs.

    LEVELS are the products that wait for one another in each time step, PRODUCTS all of them; operations are counted
    in products alone, of one token in one direction, with a frozen input.
    """
    from nasctl.spaces.named import cell_of_word  # noqa: PLC0415 - --help need not pay for it

    named = cell_of_word(name)
    if shape == "json":
        click.echo(json.dumps(_about(named, width, hidden), ensure_ascii=False))
    elif shape == "mermaid":
        from nasctl.cells.draw import to_mermaid  # noqa: PLC0415 - as above

        click.echo(to_mermaid(named.graph, named.name), nl=False)
    elif shape == "line":
        from nasctl.cells.text import to_text  # noqa: PLC0415 - as above

        click.echo(to_text(named.graph))
    else:
        click.echo(_in_words(_about(named, width, hidden)))


def _about(named: NamedCell, width: int, hidden: int) -> dict[str, Any]:
    """Everything about a cell that the widths do not leave open."""
    from nasctl.cells.costs import costs, lstm_ratio  # noqa: PLC0415 - --help need not pay for it
    from nasctl.cells.library import LIBRARY, lstm  # noqa: PLC0415 - as above
    from nasctl.cells.rewrite import cell_digest  # noqa: PLC0415 - as above
    from nasctl.cells.text import to_json, to_text  # noqa: PLC0415 - as above
    from nasctl.compiler.plan import Product, plan  # noqa: PLC0415 - as above

    graph, digest = named.graph, cell_digest(named.graph)
    planned, spent, usual = plan(graph), costs(graph, width, hidden), costs(lstm(), width, hidden)
    return {
        "name": named.name,
        "source": named.source,
        "code": None if named.code is None else "-".join(named.code),
        "digest": digest,
        "equals": [k for k, known in LIBRARY.items() if k != named.name and cell_digest(known.graph) == digest],
        "cell": to_json(graph),
        "text": to_text(graph),
        "width": width,
        "hidden": hidden,
        "parameters": planned.graph.parameters(width, hidden),
        "lstm_parameters": lstm().parameters(width, hidden),
        "levels": planned.levels,
        "products": sum(isinstance(action, Product) for action in planned.loop),
        "forward_operations": spent.forward,
        "forward_ratio": spent.forward / usual.forward,
        "training_operations": spent.training,
        "training_ratio": lstm_ratio(graph, width, hidden),
    }


def _in_words(about: dict[str, Any]) -> str:
    ratio = about["parameters"] / about["lstm_parameters"]
    forward, training = (f"{about[f'{kind}_operations'] / 1e6:.2f} million" for kind in ("forward", "training"))
    rows = [
        ("from", about["source"]),
        ("code", about["code"]),
        ("digest", about["digest"]),
        ("equals", ", ".join(about["equals"])),
        ("parameters", f"{about['parameters']:,}, {ratio:.2f} x an LSTM's"),
        (
            "each step",
            f"{counted(about['levels'], 'level')} of products, {counted(about['products'], 'product')} in all",
        ),
        ("forward", f"{forward} operations per token, {about['forward_ratio']:.2f} x an LSTM's"),
        ("training", f"{training} operations per token, {about['training_ratio']:.2f} x an LSTM's"),
    ]
    shown = [f"{what:<12}{text}" for what, text in rows if text]
    sizes = f"(one direction, input {about['width']} and hidden {about['hidden']} wide)"
    program = ["    " + line for line in about["text"].split("; ")]
    return "\n".join([about["name"], *shown, sizes, "", *program])


@cell.command(cls=ExampleCommand, examples=DRAW_EXAMPLES)
@click.argument("name", metavar="NAME|FILE|CODE")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where to; its ending says the format.")
@click.option("--format", "shape", type=click.Choice(["svg", "png", "mermaid"]), help="Without --out: mermaid.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def draw(name: str, *, out: Path | None, shape: str | None, force: bool) -> None:
    """Draw a cell: SVG or PNG with Graphviz, Mermaid as text.

    Mermaid text is drawn by GitHub, GitLab and many editors.
    """
    from nasctl.cells.draw import to_mermaid, to_picture  # noqa: PLC0415 - --help need not pay for it
    from nasctl.files import write_atomically  # noqa: PLC0415 - as above
    from nasctl.spaces.named import cell_of_word  # noqa: PLC0415 - as above

    named = cell_of_word(name)
    shape = shape or _shape_of(out)
    if out is not None and out.exists() and not force:
        raise UsageError(f"{out} is there already", "--force replaces it")
    if shape == "png" and out is None:
        raise UsageError("a PNG needs a file", "--out cell.png")
    picture = to_mermaid(named.graph, named.name) if shape == "mermaid" else to_picture(named.graph, shape, named.name)
    if out is None:
        click.echo(picture, nl=False)
    else:
        write_atomically(out, picture)
        click.echo(out)


def _shape_of(out: Path | None) -> str:
    endings = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".mermaid": "mermaid"}
    if out is None:
        return "mermaid"
    if out.suffix not in endings:
        raise UsageError(f"--out {out}: which format is that?", f"{', '.join(endings)}, or say --format")
    return endings[out.suffix]


@cell.command(cls=ExampleCommand, examples=EXPORT_EXAMPLES)
@click.argument("name", metavar="NAME|FILE|CODE")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Where to.")
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="A run's best.safetensors.")
@click.option("--layer", default="1", show_default=True, help="Which recurrent layer of it: number or name.")
@click.option("--onnx", is_flag=True, help="Also cell.onnx, unrolled and checked.  [needs nasctl[export]]")
@click.option("--steps", type=click.IntRange(1, 64), default=16, show_default=True, help="Time steps in cell.onnx.")
@_widths
@click.option("--force", is_flag=True, help="Replace an earlier export in the folder.")
def export(
    *,
    name: str,
    out: Path,
    weights: Path | None,
    layer: str,
    onnx: bool,
    steps: int,
    width: int,
    hidden: int,
    force: bool,
) -> None:
    """Write a folder to drop into a project that has torch and no nasctl.

    cell.py is the cell as a module like torch.nn.LSTM, cell.json the cell as data, README.md shows the use. The
    weights of a trained layer come along; without them, --width and --hidden are the sizes of cell.onnx.
    """
    from nasctl.compiler.export.folder import write_folder  # noqa: PLC0415 - --help need not pay for it
    from nasctl.compiler.export.trained import trained_layer  # noqa: PLC0415 - as above
    from nasctl.models import MODELS  # noqa: PLC0415 - as above
    from nasctl.spaces.named import cell_of_word  # noqa: PLC0415 - as above

    named = cell_of_word(name)
    graph, trained = named.graph, None
    if onnx:
        from nasctl.cli.onnx import demand_packages  # noqa: PLC0415 - as above

        demand_packages()
    if weights is not None:
        order = [name for row in MODELS.values() for name in row.recurrent]
        graph, trained = trained_layer(weights, layer, named.graph, order)
    for path in write_folder(out, named.name, graph, origin=named.source, trained=trained, force=force):
        click.echo(path)
    if onnx:
        from nasctl.cli.onnx import write_onnx  # noqa: PLC0415 - as above

        path, error = write_onnx(
            out, named.name, graph, steps=steps, width=width, hidden=hidden, trained=trained is not None
        )
        click.echo(path)
        click.echo(f"cell.onnx is within {error:.1e} of torch on rows of up to {steps} steps", err=True)
