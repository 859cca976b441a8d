"""`nasctl status`, `ui` and `doctor`."""

from __future__ import annotations

import json
import os
import socket

import pytest

from nasctl.cli import doctor as doctor_module


def test_an_empty_place_has_no_studies(nasctl, tmp_path):
    result = nasctl("status")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no study in" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [(), ("--verify",)])
def test_an_empty_place_has_no_study_of_that_name(nasctl, flags):
    result = nasctl("status", "nope", *flags)
    assert result.exit_code == 2
    assert "there is no study or search 'nope'; there are none in " in result.stderr


@pytest.mark.parametrize("command", ["ui", "report"])
def test_without_runs_there_is_nothing_to_show(nasctl, tmp_path, command):
    result = nasctl(command)
    assert result.exit_code == 4
    assert "`nasctl train` or `nasctl baseline` makes some" in result.stderr
    assert not list(tmp_path.iterdir())


def test_ui_becomes_mlflow_on_the_loopback(nasctl, store, monkeypatch):
    became = []
    monkeypatch.setattr(os, "execve", lambda *call: became.append(call))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = nasctl("ui", "--port", str(port))
    assert "the runs of runs" in result.stderr
    for view in ("studies", "trials"):
        assert f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey={view}" in result.stderr
    ((program, command, environment),) = became
    assert program == command[0]
    assert "127.0.0.1" in command
    assert str(store / "mlflow.db") in environment["MLFLOW_BACKEND_STORE_URI"]


def test_ui_says_when_its_port_is_taken(nasctl, store, monkeypatch):
    monkeypatch.setattr(os, "execve", pytest.fail)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = nasctl("ui", "--port", str(port))
    assert result.exit_code == 4
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr
    assert f"--port {port + 1}" in result.stderr


# --- doctor -----------------------------------------------------------------------------------------------------------


def findings(result) -> dict[str, dict[str, str]]:
    return {entry["what"]: entry for entry in map(json.loads, result.stdout.splitlines())}


def test_doctor_finds_this_environment_well(nasctl, tmp_path):
    result = nasctl("doctor", "--json")
    found = findings(result)
    assert {"python", "packages", "cores", "memory", "GPU", "store", "disk", "studies", "tracking", "data"} <= set(
        found
    )
    assert not [entry for entry in found.values() if entry["state"] == "fails"]
    assert result.exit_code == 0
    assert not list(tmp_path.iterdir())


def test_doctor_ends_with_code_4_if_something_fails(nasctl, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_module, "_file_system", lambda _: "nfs4")
    result = nasctl("doctor", f"data.root={tmp_path / 'nowhere'}")
    assert result.exit_code == 4
    assert "fails  store:" in result.stdout
    assert "is on nfs4, where SQLite may lose data" in result.stdout
    assert "       -> store.root=FOLDER on a local disk" in result.stdout
    assert "2 of the things above must be put right" in result.stderr


def test_doctor_checks_ranges_and_databases(nasctl, store, monkeypatch):
    from importlib import metadata

    demanded = ["click>=8.4.2,<9", "optuna<2", "no-such-package>=1", "torch>=2.11", 'ray>=2; extra == "ray"']
    monkeypatch.setattr(metadata, "requires", lambda _: demanded)
    (store / "studies.db").write_bytes(b"this is no database, whatever its name says" * 100)
    found = findings(nasctl("doctor", "--json"))
    assert found["optuna"]["state"] == found["no-such-package"]["state"] == "fails"
    assert found["optuna"]["hint"] == "pip install 'optuna<2'"
    assert found["packages"]["message"].startswith("2 in their ranges")
    assert found["studies"]["state"] == "fails"
    assert found["tracking"]["state"] == "ok"


def test_doctor_says_what_the_device_lacks(monkeypatch):
    import torch

    from nasctl.workers import local

    monkeypatch.setattr(local, "visible_devices", lambda _: ("0", "1"))
    monkeypatch.setattr(torch.version, "cuda", None)
    gpu = {finding.what: finding for finding in doctor_module._devices()}["GPU"]
    assert (gpu.state, gpu.message[:7]) == ("note", "2 to be")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = {finding.what: finding for finding in doctor_module._devices()}["GPU"]
    assert gpu.state == "fails"
    assert "CUDA 13.0" in gpu.hint


def test_the_file_system_of_a_path_is_that_of_its_longest_mount(monkeypatch, tmp_path):
    import types

    import psutil

    mounts = [("/", "ext4"), (str(tmp_path), "NFS4"), ("/elsewhere", "xfs")]
    parts = [types.SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    assert doctor_module._file_system(tmp_path) == "nfs4"
    assert doctor_module._file_system(tmp_path.parent) == "ext4"
