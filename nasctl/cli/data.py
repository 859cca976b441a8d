"""`nasctl data`: which data sets there are, bring them, verify them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasctl.cli.examples import ExampleCommand, ExampleGroup
from nasctl.cli.options import OverrideType, own_groups, settings_of
from nasctl.cli.text import columns, counted, terminal_width
from nasctl.config.groups import description, options
from nasctl.errors import MachineError, UsageError

if TYPE_CHECKING:
    from nasctl.config.settings import Settings
    from nasctl.data.fetch import Finding
    from nasctl.data.pairs import Part

__all__ = ["data"]


EXAMPLES = """
nasctl data list
nasctl data fetch sick glove data.root=/home/me/data
nasctl data check --overlap
"""

FETCH_EXAMPLES = """
nasctl data fetch mrpc stsb sick data.root=/home/me/data
nasctl data fetch glove                  the paper's vectors, 0.9 GB
"""

CHECK_EXAMPLES = """
nasctl data check                        everything that can be fetched
nasctl data check sick --overlap         pairs that its splits share
nasctl data check dataset=own dataset.train=pairs.csv \\
  dataset.columns.first=a dataset.columns.second=b dataset.columns.label=y
"""


@click.group(cls=ExampleGroup, examples=EXAMPLES)
def data() -> None:
    """Data sets and word vectors: what is here, download, verify.

    Files lie below data.root, or the folder that NASCTL_DATA names.
    """


@data.command("list")
@click.argument("overrides", nargs=-1, type=OverrideType(), metavar="[data.root=DIR]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per data set instead of a table.")
def list_data(overrides: tuple[str, ...], *, as_json: bool) -> None:
    """What dataset=NAME takes, and whether it is here."""
    from nasctl.data.fetch import check  # noqa: PLC0415 - --help need not pay for it
    from nasctl.data.published import PUBLISHED  # noqa: PLC0415 - as above

    root = _root(settings_of(overrides, ()))
    found = []
    for name in dict.fromkeys((*options().get("dataset", ()), *PUBLISHED)):
        entry: dict[str, Any] = {"name": name, "what": description("dataset", name)}
        if name in PUBLISHED:
            entry["what"] = PUBLISHED[name].title
            entry["licence"] = PUBLISHED[name].licence
            missing = root is None or any(finding.state != "ok" for finding in check([name], root))
            entry["state"] = f"nasctl data fetch {name}" if missing else "here"
        else:
            entry["state"] = "your own files" if name == "own" else "generated"
        found.append(entry)
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry, ensure_ascii=False))
    else:
        rows = [(entry["name"], entry["state"], entry["what"]) for entry in found]
        click.echo(columns(("NAME", "STATE", "WHAT"), rows, width=terminal_width()))
        click.echo(f"\nfolder: {root}" if root else "\nno folder: say data.root=DIR or set NASCTL_DATA", err=True)


@data.command(cls=ExampleCommand, examples=FETCH_EXAMPLES)
@click.argument("names", nargs=-1, type=OverrideType(), metavar="[NAME]... [data.root=DIR]")
def fetch(names: tuple[str, ...]) -> None:
    """Download data sets and vectors from their official addresses.

    What is there already stays. Every file is verified before it appears.
    """
    from nasctl.data.fetch import fetch as fetch_files  # noqa: PLC0415 - --help need not pay for it
    from nasctl.data.published import PUBLISHED  # noqa: PLC0415 - as above
    from nasctl.data.sources import data_root  # noqa: PLC0415 - as above

    wanted, overrides = _names_and_overrides(names)
    if not wanted:
        raise UsageError("data fetch needs names", f"known: {', '.join(PUBLISHED)}")
    root = data_root(_root(settings_of(overrides, ())))
    new = 0
    for path in fetch_files(wanted, root, progress=sys.stderr.isatty()):
        click.echo(path)
        new += 1
    click.echo(f"{counted(new, 'file is', 'files are')} new, all of {', '.join(wanted)} is here and verified", err=True)


@data.command("check", cls=ExampleCommand, examples=CHECK_EXAMPLES)
@click.argument("names", nargs=-1, type=OverrideType(), metavar="[NAME]... [KEY=VALUE]...")
@own_groups
@click.option("--overlap", is_flag=True, help="Count the pairs that data sets and their splits share.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per finding instead of a table.")
def check_data(names: tuple[str, ...], conf_dirs: tuple[str, ...], *, overlap: bool, as_json: bool) -> None:
    """Verify published files by their hashes, or read your own pairs.

    Of pairs that dataset= names it is told how their labels are read, and what is wrong with them has exit code 2.
    Exit code 4 if a file is not as published, or if one of a set that was named is missing. Pairs count as shared if
    they agree in lower case, without punctuation, in either order.
    """
    from nasctl.data.published import PUBLISHED  # noqa: PLC0415 - --help need not pay for it

    wanted, overrides = _names_and_overrides(names)
    if any(text.startswith(("dataset=", "dataset.")) for text in overrides):
        if wanted:
            raise UsageError(f"{' '.join(wanted)}: dataset= says already what is read", "one command for each")
        _show_splits(settings_of(overrides, conf_dirs), overlap=overlap, as_json=as_json)
    elif overlap:
        chosen = wanted or [name for name in options().get("dataset", ()) if name in PUBLISHED]
        _show_overlaps([settings_of([f"dataset={name}", *overrides], conf_dirs) for name in chosen], as_json=as_json)
    else:
        _show_findings(wanted, _root(settings_of(overrides, conf_dirs)), as_json=as_json)


def _show_findings(wanted: list[str], root: Path | None, *, as_json: bool) -> None:
    """Every file's state. Raises MachineError if one is wrong, or missing of a data set that was named."""
    from nasctl.data.fetch import check  # noqa: PLC0415 - --help need not pay for it
    from nasctl.data.published import PUBLISHED  # noqa: PLC0415 - as above
    from nasctl.data.sources import data_root  # noqa: PLC0415 - as above

    findings = check(wanted or list(PUBLISHED), data_root(root))
    if as_json:
        for each in findings:
            entry = {"dataset": each.dataset, "path": str(each.path), "state": each.state}
            click.echo(json.dumps(entry | {"message": each.message, "hint": each.hint}, ensure_ascii=False))
    else:
        rows = [(each.dataset, each.path.name, each.state, each.message) for each in findings]
        click.echo(columns(("DATASET", "FILE", "STATE", "WHAT"), rows))
        for hint in dict.fromkeys(each.hint for each in findings if each.hint):
            click.echo(f"hint: {hint}", err=True)
    wrong = [each for each in findings if each.state == "changed" or (each.state == "missing" and wanted)]
    if wrong:
        raise MachineError(f"{len(wrong)} of {len(findings)} files are not as published", _first_hint(wrong))


def _first_hint(findings: list[Finding]) -> str:
    return findings[0].hint


def _show_splits(settings: Settings, *, overlap: bool, as_json: bool) -> None:
    """The pairs of each split and how their labels are read; with `overlap` the pairs that two splits share.

    Raises UsageError for labels or a metric that no command accepts.
    """
    from nasctl.data.datasets import DATASETS, labelled, read, tell_shared  # noqa: PLC0415 - --help need not pay for it
    from nasctl.data.labels import in_words, otherwise  # noqa: PLC0415 - as above

    name, parts = settings.dataset.name, read(settings.dataset, _root(settings))
    known = labelled(settings.dataset, parts)
    if overlap:
        _show_shared({name: parts}, as_json=as_json)
        return
    tell_shared(settings.dataset, parts)
    if as_json:
        facts = {"dataset": name, "task": known.task, "classes": known.classes, "metric": known.metric}
        counts = {split: len(part.pairs) for split, part in parts.items()}
        click.echo(json.dumps(facts | counts, ensure_ascii=False))
    else:
        rows = [(split, len(part.pairs), part.origin) for split, part in parts.items()]
        click.echo(columns(("SPLIT", "PAIRS", "FROM"), rows, right=("PAIRS",)))
        words = in_words(known.task, known.classes, known.labels.values())
        other = otherwise(known.task, known.classes) if DATASETS[settings.dataset.source].own else ""
        click.echo(f"\n{name}: labels read as {words}{other}, judged by {known.metric}")


def _show_overlaps(every: list[Settings], *, as_json: bool) -> None:
    """The pairs that splits of these data sets share."""
    from nasctl.data.datasets import read  # noqa: PLC0415 - --help need not pay for it

    _show_shared({each.dataset.name: read(each.dataset, _root(each)) for each in every}, as_json=as_json)


def _show_shared(read_sets: Mapping[str, Mapping[str, Part]], *, as_json: bool) -> None:
    from nasctl.data.overlap import overlaps  # noqa: PLC0415 - --help need not pay for it

    found = list(overlaps(read_sets))
    if as_json:
        for each in found:
            click.echo(json.dumps({"one": each.one, "other": each.other, "pairs": each.pairs}))
    elif found:
        click.echo(columns(("ONE", "OTHER", "PAIRS"), [(f.one, f.other, f.pairs) for f in found], right=("PAIRS",)))
    else:
        click.echo("no pair is shared", err=True)


def _names_and_overrides(arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
    return [each for each in arguments if "=" not in each], [each for each in arguments if "=" in each]


def _root(settings: Settings) -> Path | None:
    """The folder of data sets that was asked for, else the environment's; None if neither says one."""
    from nasctl.data.sources import data_root  # noqa: PLC0415 - --help need not pay for it

    try:
        return data_root(Path(settings.data.root) if settings.data.root else None)
    except MachineError:
        return None
