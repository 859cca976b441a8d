import errno
import logging
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import run_spec

from nasctl.experiments.resuming import Resumption
from nasctl.experiments.run import Workplace, train
from nasctl.specs import RESULT_VERSION

EPOCHS = 5


def at_once(path):
    return Resumption(path, after=0.0, every=0.0)


def when_left(path):
    return Resumption(path, after=1e9, every=0.0)


def ended(run):
    """The epochs that a run tells from now on, and its outcome."""
    told = []
    while True:
        try:
            told.append(next(run))
        except StopIteration as end:
            return told, end.value


def begun(spec, place, resumption, epochs):
    run = train(spec, place, "trial", resumption)
    return run, [next(run) for _ in range(epochs)]


def steady(record):
    """A record without what an interruption costs."""
    history = tuple(replace(epoch, seconds=0.0) for epoch in record.history)
    return replace(record, seconds={}, memory={}, counts={**record.counts, "resumed": 0}, history=history)


def same(one, other):
    assert steady(one.record) == steady(other.record)
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.fixture
def spec(tmp_path):
    return run_spec(tmp_path, epochs=EPOCHS)


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path, "cpu", 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scratch" / "resume.safetensors"


@pytest.mark.parametrize(
    ("model", "cell", "task"),
    [("blm", "lstm", "regression"), ("esim", "enas-24", "classification"), ("bow", "lstm", "regression")],
)
def test_left_after_any_epoch_it_ends_as_if_it_had_never_been(tmp_path, place, model, cell, task):
    spec = run_spec(tmp_path, model, task, cell, epochs=EPOCHS, learning_rate=0.05)
    spec = replace(spec, embedding=replace(spec.embedding, trainable=True))
    whole, reference = ended(train(spec, place, "trial"))
    for epochs in range(1, EPOCHS + 1):
        path = tmp_path / str(epochs) / "resume.safetensors"
        run, _ = begun(spec, place, when_left(path), epochs)
        assert not path.exists()
        run.close()
        told, outcome = ended(train(spec, Workplace(tmp_path, "cpu", 1), "trial", when_left(path)))
        assert [epoch.epoch for epoch in told] == list(range(epochs + 1, EPOCHS + 1))
        assert [epoch.loss for epoch in told] == [epoch.loss for epoch in whole[epochs:]]
        same(outcome, reference)
        assert outcome.record.counts["resumed"] == 1
        assert reference.record.counts["resumed"] == 0


def test_killed_it_goes_on_from_the_last_checkpoint(spec, place, path):
    _, reference = ended(train(spec, place, "trial"))
    run, _ = begun(spec, place, at_once(path), 3)
    left = path.with_name("killed") / path.name
    left.parent.mkdir()
    shutil.copy(path, left)  # what a kill would leave now
    run.close()
    told, outcome = ended(train(spec, place, "trial", at_once(left)))
    assert told[0].epoch == 4
    same(outcome, reference)


def test_a_run_can_be_left_again_and_again(spec, place, path):
    _, reference = ended(train(spec, place, "trial"))
    for epoch in range(1, EPOCHS):
        run, told = begun(spec, place, when_left(path), 1)
        assert told[0].epoch == epoch
        run.close()
    _, outcome = ended(train(spec, place, "trial", when_left(path)))
    same(outcome, reference)
    assert outcome.record.counts["resumed"] == EPOCHS - 1
    seconds = [epoch.seconds for epoch in outcome.record.history]
    assert seconds == sorted(seconds)
    assert sum(outcome.record.seconds.values()) >= seconds[-1]


def test_patience_holds_over_an_interruption(tmp_path, place, path):
    spec = run_spec(tmp_path, epochs=60, patience=2, learning_rate=1e-5)
    whole, reference = ended(train(spec, place, "trial"))
    assert len(whole) < 60
    run, _ = begun(spec, place, when_left(path), len(whole))
    run.close()  # it was to end anyway
    told, outcome = ended(train(spec, place, "trial", when_left(path)))
    assert told == []
    same(outcome, reference)


def test_a_diverged_epoch_leaves_nothing_to_go_on_from(tmp_path, place, path):
    spec = run_spec(tmp_path, learning_rate=1e30, grad_norm=1e30)
    run, _ = begun(spec, place, at_once(path), 1)
    run.close()
    assert not path.exists()


# --- when -------------------------------------------------------------------------------------------------------------


def test_young_runs_leave_none_and_old_ones_not_too_many(tmp_path, spec, place, monkeypatch):
    now = 0.0
    monkeypatch.setattr("nasctl.experiments.costs.time.monotonic", lambda: now)
    path = tmp_path / "scratch" / "resume.safetensors"
    longer = replace(spec, training=replace(spec.training, epochs=12))
    written, run = [], train(longer, place, "trial", Resumption(path, after=120.0, every=60.0))
    for epoch in range(1, 13):
        next(run)
        now += 25.0
        if path.exists():
            written.append(epoch)
            path.unlink()
    assert written == [6, 9, 12]  # after 125, 200 and 275 seconds


# --- what is not gone on from -----------------------------------------------------------------------------------------


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def forge(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'epoch\\": 2', b'epoch\\": 3'))
    assert path.read_bytes() != content


@pytest.mark.parametrize("damage", [cut, flip, forge, lambda path: path.write_bytes(b""), os.unlink])
def test_a_damaged_checkpoint_is_ignored(spec, place, path, caplog, damage):
    _, reference = ended(train(spec, place, "trial"))
    run, _ = begun(spec, place, when_left(path), 2)
    run.close()
    damage(path)
    told, outcome = ended(train(spec, place, "trial", when_left(path)))
    assert told[0].epoch == 1
    same(outcome, reference)
    assert outcome.record.counts["resumed"] == 0
    assert [("is not used, the run begins again" in line) for line in caplog.messages] == [True] * (damage != os.unlink)


def test_another_runs_checkpoint_is_ignored(spec, place, path, caplog, monkeypatch):
    run, _ = begun(spec, place, when_left(path), 2)
    run.close()
    others = {
        "digest": (replace(spec, training=replace(spec.training, weight_decay=0.5)), place),
        "result_version": (replace(spec, result_version=RESULT_VERSION + 1), place),
        "threads": (spec, Workplace(place.cache, "cpu", 2)),
    }
    for word, (other, where) in others.items():
        _, (first,) = begun(other, where, at_once(path.with_name("none")), 1)
        caplog.clear()
        told = next(train(other, where, "trial", Resumption(path, 1e9, 0.0)))
        assert (told.epoch, told.loss) == (1, first.loss)
        assert f"its {word} is" in caplog.text
        run, _ = begun(spec, place, when_left(path.with_name("again")), 2)
        run.close()
        shutil.copy(path.with_name("again"), path)
        path.with_name("again").unlink()
    monkeypatch.setattr("nasctl.experiments.resuming.torch.__version__", "0.0.1")
    caplog.clear()
    assert next(train(spec, place, "trial", when_left(path))).epoch == 1
    assert "its torch is" in caplog.text


# --- what it costs no run ---------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(spec, place, path, caplog, monkeypatch):
    _, reference = ended(train(spec, place, "trial"))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nasctl.files.os.fsync", full)
    _, outcome = ended(train(spec, place, "trial", at_once(path)))
    same(outcome, reference)
    assert list(path.parent.iterdir()) == []
    assert "No space left on device" in caplog.text
    run, _ = begun(spec, place, when_left(path), 1)
    run.close()


def test_a_checkpoint_leaves_room_for_the_stores(spec, place, path, caplog, monkeypatch):
    monkeypatch.setattr("nasctl.experiments.resuming.shutil.disk_usage", lambda _: SimpleNamespace(free=200_000_000))
    run, _ = begun(spec, place, at_once(path), 1)
    run.close()
    assert not path.exists()
    assert "200 MB free; 200 MB are wanted" in caplog.text


def test_what_a_killed_writer_left_is_removed(spec, place, path, caplog):
    caplog.set_level(logging.INFO)
    run, _ = begun(spec, place, at_once(path), 1)
    run.close()
    aside = path.with_name(f".{path.name}.x7")
    aside.write_bytes(b"half")
    next(train(spec, place, "trial", at_once(path)))
    assert not aside.exists()
    assert "goes on after epoch 1" in caplog.text
