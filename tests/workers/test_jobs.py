"""The executor with a made-up `experiments.run`, so that no test here loads torch."""

import errno
import json
import math
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from studies import job, noop_record, search_spec

from nasctl.cells.spelling import spelled
from nasctl.errors import MachineError, UsageError
from nasctl.files import file_sha256
from nasctl.search.samples import Examined, SampledCell, read_samples
from nasctl.spaces import space_named
from nasctl.spaces.base import code_of
from nasctl.specs import SEARCH, search_digest
from nasctl.strategies import SpaceSpec
from nasctl.tracking.records import EpochRecord, Judging
from nasctl.workers.jobs import MAX_MESSAGE_CHARACTERS, Executor
from nasctl.workers.protocol import MAX_LINE_BYTES, PROTOCOL, Drop, Judged, Keep, Start, encode

START = Start(PROTOCOL, "cache", "cpu", 3, 10.0, 10.0, 120.0, 60.0, warm=())


@dataclass(frozen=True)
class Prediction:
    split: str
    row_id: str
    gold: float
    prediction: float


class FakeRun(types.ModuleType):
    """What `experiments.run` offers, as small as can be; `error` is raised after the first epoch."""

    def __init__(self) -> None:
        super().__init__("nasctl.experiments.run")
        self.error: BaseException | None = None
        self.weights: dict[str, Any] = {"w": 1}
        self.places: list[tuple[Path, str, int]] = []
        self.opened: list[tuple[str, str]] = []
        self.closed = False
        self.evaluated: list[tuple[Any, ...]] = []
        outer = self

        class Workplace:
            def __init__(self, cache, device, threads):
                outer.places.append((cache, device, threads))

            def warm(self, data, embedding):
                outer.opened.append((data, embedding))

        self.Workplace = Workplace
        self.Resumption = lambda path, after, every: (path, after, every)

    def train(self, spec, workplace, role, resumption):
        self.resumption = resumption
        try:
            yield EpochRecord(1, 0.5, {"pearson": 0.25}, 1.0)
            if self.error is not None:
                raise self.error
            yield EpochRecord(2, 0.4, {"pearson": 0.5}, 2.0)
        except GeneratorExit:
            self.closed = True
            raise
        return types.SimpleNamespace(record=noop_record(spec), weights=self.weights)

    def notes(self, record):
        return {"of": record.digest}

    def save_weights(self, path, weights, about):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([weights, about]))

    def evaluate(self, spec, weights, record, workplace, role):
        self.evaluated.append((weights, record, role))
        rows = (Prediction("dev", "a", 1.0, 0.5), Prediction("test", "b", 2.0, 1.5))
        return types.SimpleNamespace(record=replace(record, role=role, test={"pearson": 0.4}), predictions=rows)


class FakeTorch(types.ModuleType):
    class OutOfMemoryError(RuntimeError):
        pass

    class AcceleratorError(RuntimeError):
        pass

    threads = 0

    def set_num_threads(self, count):
        self.threads = count


@pytest.fixture
def run(monkeypatch):
    fake = FakeRun()
    monkeypatch.setitem(sys.modules, "nasctl.experiments.run", fake)
    monkeypatch.setitem(sys.modules, "torch", FakeTorch("torch"))
    return fake


def asked(kind="run", **changes):
    return replace(job(), kind=kind, **changes)


def test_a_run_tells_its_epochs_and_keeps_its_weights_until_it_is_told(run, tmp_path):
    executor = Executor(START)
    first, second, done = executor.perform(asked(scratch=str(tmp_path)))
    assert (first.epoch.epoch, second.epoch.epoch) == (1, 2)
    assert done.weights
    assert done.record == replace(noop_record(), seconds=done.record.seconds, history=done.record.history)
    path = tmp_path / "best.safetensors"
    kept = executor.settle(Keep("s/0", 1, str(path)))
    assert json.loads(path.read_text()) == [{"w": 1}, {"of": done.record.digest}]
    assert kept.sha256 == file_sha256(path)
    assert executor.settle(Keep("s/0", 1, str(path))).type == "failed"
    assert run.resumption == (tmp_path / "resume.safetensors", 120.0, 60.0)
    assert (run.places, sys.modules["torch"].threads) == ([(Path("cache"), "cpu", 3)], 3)


def test_a_run_without_weights_says_so(run):
    run.weights = {}
    *_, done = Executor(START).perform(asked())
    assert not done.weights


def test_dropped_weights_are_gone(run, tmp_path):
    executor = Executor(START)
    list(executor.perform(asked(scratch=str(tmp_path))))
    assert executor.settle(Drop("s/0", 1)) is None
    failed = executor.settle(Keep("s/0", 1, str(tmp_path / "best.safetensors")))
    assert "no weights" in failed.message


@pytest.mark.parametrize("wrong", [("s/1", 1, "best"), ("s/0", 2, "best"), ("s/0", 1, "../elsewhere")])
def test_weights_are_kept_for_their_own_job_and_in_its_own_folder_only(run, tmp_path, wrong):
    executor = Executor(START)
    list(executor.perform(asked(scratch=str(tmp_path / "scratch"))))
    identity, attempt, name = wrong
    path = tmp_path / ("elsewhere" if name.startswith("..") else f"scratch/{name}")
    assert executor.settle(Keep(identity, attempt, str(path))).type == "failed"
    assert not path.exists()


def test_closing_stops_the_run(run):
    work = Executor(START).perform(asked())
    next(work)
    work.close()
    assert run.closed


def test_an_evaluation_leaves_predictions(run, tmp_path):
    record = noop_record()
    work = asked("evaluate", role="final", weights="best", record=record, scratch=str(tmp_path))
    (done,) = Executor(START).perform(work)
    assert run.evaluated == [(Path("best"), record, "final")]
    assert (done.record.role, done.record.test, done.weights) == ("final", {"pearson": 0.4}, False)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert rows[1] == {"split": "test", "row_id": "b", "gold": 2.0, "prediction": 1.5}


def test_warming_opens_what_it_names_and_the_place_is_made_once(run):
    executor = Executor(replace(START, warm=(("d", "e"), ("d2", "e2"))))
    executor.warm()
    list(executor.perform(asked()))
    assert run.opened == [("d", "e"), ("d2", "e2")]
    assert len(run.places) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("é"), "exception"),
        (UsageError("labels do not fit", "another loss"), "usage"),
        (MachineError("no checkpoint", "look"), "machine"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EACCES, "Permission denied"), "exception"),
        (FakeTorch.OutOfMemoryError("CUDA out of memory"), "device_memory"),
        (FakeTorch.AcceleratorError("device-side assert"), "device"),
        (RuntimeError("CUDA error: an illegal memory access"), "device"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_failures_have_their_reasons(run, error, reason):
    run.error = error
    _, failed = Executor(START).perform(asked())
    assert (failed.type, failed.job, failed.attempt, failed.reason) == ("failed", "s/0", 1, reason)
    assert failed.hint == getattr(error, "hint", "")
    assert type(error).__name__ in failed.traceback


def test_a_failure_fits_into_a_line_whatever_it_says(run):
    run.error = ValueError("x" * 2 * MAX_LINE_BYTES)
    _, failed = Executor(START).perform(asked())
    assert len(failed.message) == MAX_MESSAGE_CHARACTERS
    encode(0, failed)


def test_a_spec_that_is_none_is_a_failure(run):
    (failed,) = Executor(START).perform(asked(spec={"kind": "run"}))
    assert failed.reason == "exception"


# --- searches ---------------------------------------------------------------------------------------------------------


def search_job(kind="search", **changes):
    return asked(kind, spec=SEARCH.dump_python(search_spec(), mode="json"), role="search", **changes)


EXAMINED = Examined(1, SpaceSpec("enas", 2), "pearson", {"uniform": (SampledCell("tanh-0-relu", score=0.5),)})


def test_a_search_tells_its_epochs_and_leaves_samples_and_weights(run, tmp_path, monkeypatch):
    def search(spec, workplace, resumption):
        assert spec == search_spec()
        assert resumption == (tmp_path / "resume.safetensors", 120.0, 60.0)
        yield EpochRecord(1, 0.5, {"pearson": 0.25}, 1.0)
        yield Judging(37, 310)
        record = replace(noop_record(), role="search", digest="f" * 16)
        return types.SimpleNamespace(record=record, weights={"child/w": 1}, examined=EXAMINED)

    module = types.ModuleType("nasctl.experiments.search")
    module.search = search
    monkeypatch.setitem(sys.modules, module.__name__, module)
    executor = Executor(START)
    epoch, judged, done = executor.perform(search_job(scratch=str(tmp_path)))
    assert (epoch.epoch.epoch, judged) == (1, Judged("s/0", 1, 37, 310))
    assert (done.record.role, done.weights) == ("search", True)
    assert read_samples(tmp_path / "samples.json") == EXAMINED
    executor.settle(Keep("s/0", 1, str(tmp_path / "best.safetensors")))
    assert json.loads((tmp_path / "best.safetensors").read_text()) == [{"child/w": 1}, {"digest": "f" * 16}]
    assert len(run.places) == 1


def test_the_no_op_job_stands_for_a_search_too(tmp_path):
    *told, done = Executor(START).perform(search_job("noop", scratch=str(tmp_path)))
    judged = [Judged("s/0", 1, number, 5) for number in range(1, 6)]
    assert ([each.epoch.epoch for each in told[:3]], told[3:]) == ([1, 2, 3], judged)
    assert (done.record.role, done.record.digest) == ("search", search_digest(search_spec()))
    space = space_named("enas", nodes=4)
    for cell in done.record.found:
        assert cell.cell == spelled(space.decode(code_of(cell.code, space)))
        assert cell.log_probability == pytest.approx(-math.log(space.size()))
    assert read_samples(tmp_path / "samples.json").metric == "pearson"
    *told, again = Executor(START).perform(search_job("noop", scratch=str(tmp_path)))
    assert told == judged
    assert again.record.counts == {"resumed": 1}


def test_a_job_has_the_spec_of_its_kind():
    for wrong in (asked("search"), search_job("run"), search_job("evaluate")):
        (failed,) = Executor(START).perform(wrong)
        assert (failed.type, failed.reason) == ("failed", "exception")
