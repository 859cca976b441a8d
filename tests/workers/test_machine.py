"""What a container or a cluster's job may use."""

import math
import os
import types

import psutil
import pytest

from nasctl.workers import machine
from nasctl.workers.machine import cores, free_memory


@pytest.fixture
def job(monkeypatch, tmp_path):
    """The group of a job in a larger one, on a machine of 64 cores that has 100 GB of memory free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=100_000_000_000))
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "OURS", tmp_path / "ours")
    (tmp_path / "ours").write_text("4:memory:/old\n0::/slurm/job_7\n")
    group = tmp_path / "groups" / "slurm" / "job_7"
    group.mkdir(parents=True)
    return group


def limited(group, limit, used, files):
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")


@pytest.mark.parametrize(("quota", "number"), [("max 100000", 64), ("150000 100000", 2), ("", 64), ("9900 100", 64)])
def test_the_cores_that_are_given(job, quota, number):
    assert cores() == 64
    (job / "cpu.max").write_text(f"{quota}\n")
    assert cores() == number
    assert isinstance(cores(), int)


def test_the_memory_that_is_left_of_the_narrowest_limit(job):
    assert free_memory() == 100_000_000_000
    limited(job, "max", 3, 0)
    assert free_memory() == 100_000_000_000
    limited(job.parent, 16_000_000_000, 10_000_000_000, 2_000_000_000)
    assert free_memory() == 8_000_000_000
    limited(job, 4_000_000_000, 3_000_000_000, 0)
    assert free_memory() == 1_000_000_000
    limited(job, 4_000_000_000, 4_500_000_000, 0)
    assert free_memory() == 0


@pytest.mark.parametrize("text", ["", "4:memory:/old\n", "0::/../outside\n", "0::/\n"])
def test_without_a_limit_that_can_be_read_the_machine_itself_counts(job, tmp_path, text):
    (tmp_path / "ours").write_text(text)
    assert (cores(), free_memory()) == (64, 100_000_000_000)
    (tmp_path / "ours").unlink()
    assert (cores(), free_memory()) == (64, 100_000_000_000)
    assert math.isfinite(free_memory())
