"""A real search, tiny, whose command and worker are killed at epochs drawn at random: it ends as if they had not been.

It prints its seed; NASCTL_TEST_SEED=SEED repeats it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace

import psutil
import pytest
from safetensors.numpy import load_file
from studies import gone, without_time

from nasctl.tracking.found import found

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

EPOCHS = 6
SEARCH = (
    *("search=demo", "search.start=training", "search.name=killed", f"search.training.epochs={EPOCHS}"),
    *("dataset.pairs=300", "embedding.width=8", "training.hidden=[8]", "training.batch_size=16"),
    *("search.strategy.steps=20", "search.strategy.reward.pairs=16", "search.found.examined=5"),
    *("device=cpu", "workers=1", "resume.after=0", "resume.every=0", "timeouts.beat=1"),
)


class Searching:
    """`nasctl search` in a process of its own, and the lines that it tells."""

    def __init__(self, root):
        command = [sys.executable, "-m", "nasctl", "search", *SEARCH, f"store.root={root}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []

    def until(self, epoch):
        """Read on until this epoch has ended; whether it has."""
        for line in self.process.stdout:
            self.lines.append(line)
            if line.split()[:2] == ["epoch", str(epoch)]:
                return True
        return False

    def workers(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self):
        self.lines += self.process.stdout
        return self.process.wait()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def kept(root):
    """The record of what was found, but for times, and the SHA-256 of the weights' names and numbers."""
    (search,) = found(root)
    weights = load_file(root / "searches" / "killed" / "best.safetensors")
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].tobytes())
    return replace(without_time(search.entry.record), memory={}), digest.hexdigest()


def test_a_killed_search_finds_the_same_cells_and_weights(nasctl, tmp_path, checkout, mlflow_database, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    for root in (tmp_path / "whole", tmp_path / "cut"):
        root.mkdir()
        shutil.copyfile(mlflow_database, root / "mlflow.db")
    seed = int(os.environ.get("NASCTL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    first, second = sorted(random.Random(seed).sample(range(1, EPOCHS), 2))
    print(f"\nNASCTL_TEST_SEED={seed}: the worker after epoch {first}, the command after {second}")  # noqa: T201 - whoever wants to see it again

    assert nasctl("search", *SEARCH, "pool=inprocess", f"store.root={tmp_path / 'whole'}").exit_code == 0
    with closing(Searching(tmp_path / "cut")) as searching:
        assert searching.until(first), searching.lines
        for worker in searching.workers():
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        assert searching.until(second), searching.lines
        workers = searching.workers()
        searching.process.kill()
        searching.process.wait()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        assert gone(workers)
    assert found(tmp_path / "cut") == []
    with closing(Searching(tmp_path / "cut")) as searching:
        assert searching.end() == 0, searching.lines
    epochs = [int(line.split()[1]) for line in searching.lines if line.startswith("epoch ")]
    assert epochs == list(range(min(epochs, default=EPOCHS + 1), EPOCHS + 1))
    assert min(epochs, default=EPOCHS) > first
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    (search,) = found(tmp_path / "cut")
    assert search.entry.record.counts["resumed"] >= 1
    assert not list((tmp_path / "cut" / "searches" / "killed" / "scratch").iterdir())
