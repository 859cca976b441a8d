"""`nasctl train`: one run, or one after the other, in this process."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.names import run_name
from nasctl.cli.options import check_read, composed, compositions, settings_flags, show_configurations
from nasctl.cli.stores import Stores, open_tracker, stores_of
from nasctl.cli.text import columns, counted, duration
from nasctl.errors import MachineError, StoppedError, UsageError

if TYPE_CHECKING:
    from nasctl.config.composition import Composition
    from nasctl.config.settings import Settings
    from nasctl.experiments.pools import Cells
    from nasctl.experiments.resolve import Resolved
    from nasctl.experiments.run import Outcome, Resumption, Workplace
    from nasctl.specs import RunSpec
    from nasctl.tracking.kept import KeptRun
    from nasctl.tracking.records import EpochRecord, RunRecord
    from nasctl.tracking.store import MlflowTracker

__all__ = ["train"]

UNREAD = {
    **dict.fromkeys(("trials", "study", "sampler", "pruner"), "nasctl baseline and nasctl tune do"),
    "search": "nasctl search does",
}

THREADS = 1
"""As in a worker: equal settings give equal bits, whoever trains."""

STOPPING = b"stopping after this epoch; Ctrl-C again to stop at once\n"

EXAMPLES = """
nasctl train                             BiLSTM-Max on generated pairs
nasctl train dataset=sick embedding=glove embedding.file=vectors.txt
nasctl train cell=named 'cell.names=[enas-24]'
nasctl train --paper esim/glove/EL/sick  as the paper's Tables 5 and 6 say
nasctl train --paper blm/glove/L/mrpc -m seed=0,1,2
nasctl train --paper blm/bert/L/sick embedding=minilm
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@click.option(
    "--paper", metavar="ROW", help="The settings of a row of the paper's Table 5: MODEL/EMBEDDING/RNN/DATASET."
)
@settings_flags
def train(
    overrides: tuple[str, ...],
    conf_dirs: tuple[str, ...],
    paper: str | None,
    *,
    multirun: bool,
    cfg: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train once, evaluate on dev and test, and log the run.

    One line per epoch goes to stderr, the result to stdout. Overrides stand before what --paper sets.
    """
    check_read(overrides, "train", UNREAD)
    labels: Mapping[str, str] = {}
    if paper is not None:
        from nasctl.cli.paper import paper_labels, paper_overrides  # noqa: PLC0415 - --help need not pay for it

        labels = paper_labels(paper, overrides)
        overrides = (*paper_overrides(paper, overrides), *overrides)
    asked = compositions(overrides, conf_dirs, multirun=multirun)
    if cfg:
        show_configurations(asked, as_json=as_json)
    elif dry_run:
        from nasctl.cli.plan import run_plan, show  # noqa: PLC0415 - --help need not pay for it

        for plan in [run_plan(each.settings, _one_cell(each.settings)) for each in asked]:
            show(plan, as_json=as_json)
    else:
        results = [_show(result, as_json=as_json) for result in _results(asked, labels)]
        if len(results) > 1 and not as_json:
            click.echo(_summary([result.record for result in results]))
        if paper is not None and not as_json:
            from nasctl.cli.paper import paper_scores  # noqa: PLC0415 - as above

            click.echo("the paper's {}: dev {:.1f}, test {:.1f}".format(paper, *paper_scores(paper)))


@dataclass(frozen=True)
class Result:
    """A run that was trained, evaluated and kept; `id` is its MLflow run's, None if MLflow does not have it yet."""

    name: str
    record: RunRecord
    id: str | None
    stores: Stores


def _results(asked: Sequence[Composition], labels: Mapping[str, str]) -> Iterator[Result]:
    """Train each of what is asked for; `labels` stand before those that follow from it.

    What can be known to be wrong with any of them is told before the first begins.
    """
    from nasctl.cli.estimates import run_bytes  # noqa: PLC0415 - --help need not pay for it
    from nasctl.cli.resolution import resolved, told  # noqa: PLC0415 - as above
    from nasctl.tracking.tags import changed_label  # noqa: PLC0415 - as above
    from nasctl.tuning.folders import check_room  # noqa: PLC0415 - as above

    prepared = []
    for each in asked:
        settings = each.settings
        _device(settings.device)
        stores, cells = stores_of(settings), _one_cell(settings)
        check_room(stores.root, run_bytes(settings, cells))
        found = resolved(settings, cells, stores)
        labelled = {**found.labels, **changed_label(each.readings), **labels}
        prepared.append((settings, stores, cells, replace(found, labels=labelled)))
    for line in dict.fromkeys(told(found) for *_, found in prepared):
        click.echo(line, err=True)
    trackers: dict[str, MlflowTracker] = {}
    for settings, stores, cells, found in prepared:
        if stores.tracking not in trackers:
            trackers[stores.tracking] = open_tracker(stores)
        yield _train(settings, stores, cells, found, trackers[stores.tracking])


def _device(asked: str) -> str:
    """Where a run trains: "auto" is a GPU, if torch can use one. Raises MachineError if "cuda" and it cannot."""
    import torch  # noqa: PLC0415 - --help need not pay for it

    from nasctl.workers.local import no_gpu  # noqa: PLC0415 - as above

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise no_gpu()
    return "cuda" if there and asked != "cpu" else "cpu"


def _one_cell(settings: Settings) -> Cells:
    """The cells of a run. Raises UsageError for a pool of several, naming one to take."""
    from nasctl.cli.resolution import cells_asked  # noqa: PLC0415 - --help need not pay for it

    cells = cells_asked(settings)
    if len(cells.names) > 1:
        words = [f"cell.files=[{settings.cell.files[0]}]"] if settings.cell.name == "file" else []
        take = shlex.join(words or ["cell=named", f"cell.names=[{cells.names[0]}]"])
        raise UsageError(
            f"a run has one cell, and the pool of cell={cells.source} has {len(cells.names)}; nasctl tune chooses",
            f"take one: {take}",
        )
    return cells


def _train(settings: Settings, stores: Stores, cells: Cells, resolved: Resolved, tracker: MlflowTracker) -> Result:
    """Train and evaluate one run, keep it with its weights, configuration and predictions, and log it."""
    import torch  # noqa: PLC0415 - --help need not pay for it

    from nasctl.config.composition import as_yaml  # noqa: PLC0415 - as above
    from nasctl.experiments import run as runs  # noqa: PLC0415 - as above
    from nasctl.experiments.costs import added  # noqa: PLC0415 - as above
    from nasctl.files import canonical_json, write_atomically  # noqa: PLC0415 - as above
    from nasctl.specs import ARCHITECTURE, hyperparameters, run_digest  # noqa: PLC0415 - as above
    from nasctl.tracking import trained  # noqa: PLC0415 - as above
    from nasctl.tracking.records import TrialEntry  # noqa: PLC0415 - as above
    from nasctl.tracking.tags import label_tags  # noqa: PLC0415 - as above
    from nasctl.tuning.outcomes import named  # noqa: PLC0415 - as above
    from nasctl.workers.jobs import RESUME  # noqa: PLC0415 - as above

    torch.set_num_threads(THREADS)
    workplace = runs.Workplace(stores.cache, _device(settings.device), THREADS, copies=1)
    spec = resolved.run
    name = run_name(resolved.labels, spec.training.seed)
    scratch = stores.scratch(run_digest(spec))
    resumption = runs.Resumption(scratch / RESUME, settings.resume.after, settings.resume.every)
    outcome = _followed(name, spec, workplace, resumption)
    record = replace(outcome.record, role="final")
    with tempfile.TemporaryDirectory(prefix="train-", dir=stores.root) as folder:
        config = Path(folder) / "config.yaml"
        write_atomically(config, as_yaml(settings))
        artifacts = [config]
        if outcome.weights:
            weights, predictions = Path(folder) / "best.safetensors", Path(folder) / "predictions.jsonl"
            runs.save_weights(weights, outcome.weights, runs.notes(record))
            evaluation = runs.evaluate(spec, weights, record, workplace, "final")
            record = replace(evaluation.record, seconds=added(record.seconds, evaluation.record.seconds))
            lines = (canonical_json(asdict(each)) for each in evaluation.predictions)
            write_atomically(predictions, "".join(f"{line}\n" for line in lines))
            artifacts += [weights, predictions]
        params = hyperparameters(spec.training, [layer.hidden for layer in spec.layers])
        if cells.pool is not None:
            params[ARCHITECTURE] = cells.names[0]
            record = named(record, cells.pool, params)
        entry = TrialEntry(0, params, record, label_tags(resolved.labels), time.time())
        run = trained.keep(stores.root, name, entry, artifacts)
    shutil.rmtree(scratch, ignore_errors=True)
    return Result(name, record, _logged(run, tracker, stores), stores)


def _logged(run: KeptRun, tracker: MlflowTracker, stores: Stores) -> str | None:
    """The id under which MLflow has the run; None, and a warning, if it cannot be written: what was trained is kept."""
    try:
        return run.log(tracker)
    except MachineError as error:
        sync = stores.typed("nasctl", "sync")
        click.echo(f"nasctl: {run.name} is kept, but not in MLflow ({error}); {sync} logs it", err=True)
        return None


def _followed(name: str, spec: RunSpec, workplace: Workplace, resumption: Resumption) -> Outcome:
    """Train to the end, with a line per epoch.

    Raises StoppedError after Ctrl-C or SIGTERM: the first ends the run after its epoch, a second one at once.
    """
    from nasctl.experiments import run as runs  # noqa: PLC0415 - --help need not pay for it
    from nasctl.tuning.stopping import Stages  # noqa: PLC0415 - as above

    epochs: Generator[EpochRecord, None, Outcome] = runs.train(spec, workplace, "final", resumption)
    click.echo(f"{name}: at most {counted(spec.training.epochs, 'epoch')} on {workplace.device}", err=True)
    signals = itertools.count(1)
    last, began = 0, time.monotonic()
    with Stages(lambda: _stopping(next(signals))) as stages:
        try:
            while not stages.stage:
                epoch = next(epochs)
                if last == 0 and epoch.epoch > 1:
                    click.echo(f"it went on after epoch {epoch.epoch - 1}", err=True)
                now = time.monotonic()
                click.echo(_epoch_line(epoch, now - began), err=True)
                last, began = epoch.epoch, now
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except KeyboardInterrupt:
            where = "its last checkpoint"
        else:
            epochs.close()  # between two epochs, so that the run leaves what is needed to go on
            where = "there"
    hint = f"the same command goes on from {where}" if resumption.path.exists() else "the same command begins again"
    raise StoppedError(f"stopped after epoch {last}", hint, stages.number)


def _stopping(signals: int) -> None:
    """Answer a signal. Raises KeyboardInterrupt from the second one on."""
    if signals > 1:
        raise KeyboardInterrupt
    os.write(2, STOPPING)  # in a handler: what is being printed just now may hold print's locks


def _epoch_line(epoch: EpochRecord, seconds: float) -> str:
    """One epoch, and how long it took."""
    loss = "not finite" if epoch.loss is None else f"{epoch.loss:.4f}"
    scores = ",".join(f" {name} {100 * value:.2f}" for name, value in epoch.dev.items())
    return f"epoch {epoch.epoch:3d}  loss {loss}  dev{scores}  {duration(seconds)}"


# --- what is told -----------------------------------------------------------------------------------------------------


def _show(result: Result, *, as_json: bool) -> Result:
    click.echo(json.dumps(_for_programs(result)) if as_json else _for_people(result))
    return result


def _for_programs(result: Result) -> dict[str, Any]:
    record = result.record
    return {
        "name": result.name,
        "state": record.state,
        "digest": record.digest,
        **{f"dev/{name}": value for name, value in record.dev.items()},
        **{f"test/{name}": value for name, value in record.test.items()},
        "seconds": sum(record.seconds.values()),
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "parameters": record.parameters,
        "device": record.device,
        "run": result.id,
    }


def _for_people(result: Result) -> str:
    record = result.record
    seconds = sum(record.seconds.values())
    head = (
        f"\n{result.name}: {record.state}, best epoch {record.best_epoch} of {record.epochs}, "
        f"{record.parameters:,} parameters, {duration(seconds)}"
    )
    if record.state != "finished":
        head += f"\n{record.reason}"
    names = list(record.dev)
    rows = [
        (split, *(f"{100 * metrics[name]:.2f}" for name in names))
        for split, metrics in (("dev", record.dev), ("test", record.test))
        if metrics
    ]
    table = columns(("x100", *names), rows, right=names) if rows else "no scores"
    ui, sync = (result.stores.typed("nasctl", command) for command in ("ui", "sync"))
    where = f"MLflow run {result.id}; `{ui}` shows it" if result.id else f"not in MLflow yet: {sync}"
    return f"{head}\n{table}\ndigest {record.digest}, {where}"


def _summary(records: list[RunRecord]) -> str:
    """Mean and standard deviation over runs, which may differ in more than the seed."""
    rows = []
    for split in ("dev", "test"):
        for name in dict.fromkeys(name for record in records for name in getattr(record, split)):
            values = [100 * getattr(record, split)[name] for record in records if name in getattr(record, split)]
            spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
            rows.append((split, name, f"{statistics.fmean(values):.2f}", spread, len(values)))
    header = ("SPLIT", "METRIC", "MEAN", "SD", "RUNS")
    return "\n" + columns(header, rows, right=("MEAN", "SD", "RUNS"))
