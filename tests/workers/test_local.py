import os
import sys

import pytest

from nasctl.errors import MachineError
from nasctl.workers import local
from nasctl.workers.local import local_slots, visible_devices, worker_environment
from nasctl.workers.machine import cores


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(local, "_count_gpus", lambda: 4)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(local, "_count_gpus", lambda: 0)


@pytest.mark.parametrize(
    ("outer", "visible"),
    [
        (None, ("0", "1", "2", "3")),
        ("", ()),
        ("2,0", ("2", "0")),
        ("1, 3", ("1", "3")),
        ("1,-1,2", ("1",)),
        ("7", ()),
        ("GPU-3f1c,MIG-77aa", ("GPU-3f1c", "MIG-77aa")),
    ],
)
def test_an_outer_choice_of_gpus_is_respected(four_gpus, outer, visible):
    environment = {} if outer is None else {"CUDA_VISIBLE_DEVICES": outer}
    assert visible_devices(environment) == visible


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    import pynvml

    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert visible_devices({}) == ()


def test_eight_workers_share_the_gpus_in_turn(four_gpus):
    slots = local_slots("auto", "auto", {})
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "1", "2", "3", "0", "1", "2", "3"]
    assert {slot.device for slot in slots} == {"cuda"}
    assert {slot.environment["CUDA_DEVICE_ORDER"] for slot in slots} == {"PCI_BUS_ID"}


def test_the_order_of_an_outer_choice_is_left_alone(four_gpus):
    (slot,) = local_slots(1, "auto", {"CUDA_VISIBLE_DEVICES": "3"})
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert "CUDA_DEVICE_ORDER" not in slot.environment


def test_without_gpus_there_is_a_worker_for_each_core(no_gpu):
    slots = local_slots("auto", "auto", {})
    assert len(slots) == cores() >= 1
    assert {(slot.device, slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in slots} == {("cpu", "")}
    assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"1"}
    assert {slot.command for slot in slots} == {(sys.executable, "-P", "-m", "nasctl.workers.worker")}


def test_cpu_workers_see_no_gpu(four_gpus):
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in local_slots(3, "cpu", {})] == ["", "", ""]


def test_a_gpu_that_is_not_there_is_said(no_gpu):
    with pytest.raises(MachineError, match="no GPU"):
        local_slots("auto", "cuda", {})


def test_no_secret_reaches_a_worker():
    secrets = {
        "MLFLOW_TRACKING_URI": "x",
        "MLFLOW_TRACKING_PASSWORD": "x",
        "NASCTL_STORE_URL": "x",
        "NASCTL_STORE_TRACKING": "x",
        "PGPASSWORD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HF_TOKEN": "x",
    }
    seen = worker_environment({**secrets, "PATH": "/bin", "HF_HOME": "/cache"}, "", threads=2)
    assert not set(secrets) & set(seen)
    assert (seen["PATH"], seen["HF_HOME"], seen["OMP_NUM_THREADS"]) == ("/bin", "/cache", "2")


def test_a_checkout_that_is_not_installed_is_found_by_its_workers(monkeypatch, checkout, tmp_path):
    assert "PYTHONPATH" not in worker_environment({}, "", threads=1)
    monkeypatch.chdir(checkout)
    assert worker_environment({"PYTHONPATH": "/more"}, "", threads=1)["PYTHONPATH"] == f"{checkout}{os.pathsep}/more"


@pytest.mark.parametrize(("most", "workers"), [(8, 8), (24, 24), (160, 64), (None, 64)])
def test_there_are_no_more_workers_than_can_be_kept_busy(no_gpu, monkeypatch, most, workers):
    monkeypatch.setattr(local, "cores", lambda: 64)
    assert len(local_slots("auto", "auto", {}, most)) == workers
    assert len(local_slots(12, "auto", {}, most)) == 12
