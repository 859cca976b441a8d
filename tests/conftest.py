"""A strict place to test in: no network but loopback, one thread, nobody's home, nobody's settings, an empty folder."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

FOREIGN_SETTINGS = ("NASCTL_STORE_", "MLFLOW_", "PG", "AWS_", "HF_", "HYDRA_", "PYTHONPATH")
"""Variables (or their beginnings) that would make a test depend on who runs it."""

PLACE = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: a connection beyond loopback ends the test that tried it, before a packet is sent."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address and isinstance(address[0], str) else "localhost"
    elif event == "socket.getaddrinfo":
        host = arguments[0] or "localhost"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in {"localhost", ""} and not _is_local(host):
        raise PermissionError(f"a test may use loopback only, not {host} ({event})")


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads its settings once, as torch and MLflow do."""
    config.stash[PLACE] = tempfile.TemporaryDirectory(prefix="nasctl-tests-")
    place = config.stash[PLACE].name
    home = f"{place}/home"
    Path(home).mkdir()
    for name in list(os.environ):
        if name.startswith(FOREIGN_SETTINGS):
            del os.environ[name]
    os.environ |= {
        "HOME": home,
        "XDG_CACHE_HOME": f"{home}/.cache",
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.local/share",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": f"{place}/matplotlib",
        "RUSTUP_HOME": f"{place}/rustup",  # pip asks rustc for its version, and rustup writes that down
        "HYPOTHESIS_STORAGE_DIRECTORY": f"{place}/hypothesis",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "localhost,127.0.0.1,::1",
        # what a test starts as a process of its own meets a closed door too
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
    }
    hypothesis.settings.register_profile("nasctl", deadline=None, database=None, derandomize=True)
    hypothesis.settings.load_profile("nasctl")
    sys.addaudithook(refuse_network)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[PLACE].cleanup()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test stands in an empty folder of its own, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def empty_home() -> Iterator[None]:
    """Nobody's home is written to: not by us, and not by a library whose cache we forgot to place."""
    yield
    written = sorted(path for path in Path.home().rglob("*") if path.is_file())
    for path in written:
        path.unlink()  # or every later test would be blamed too
    assert not written, f"written into HOME: {', '.join(map(str, written))}"


@pytest.fixture(scope="session", autouse=True)
def on_term() -> Any:
    """What SIGTERM does before any test."""
    return signal.getsignal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def own_process(on_term: Any) -> Iterator[None]:
    """A command that runs inside a test, or for several, sets levels of logging and handlers of signals.

    No other test shall notice.
    """
    logging.getLogger("nasctl").setLevel(logging.NOTSET)
    yield
    logging.getLogger("nasctl").setLevel(logging.NOTSET)
    signal.signal(signal.SIGTERM, on_term)
    for handler in [each for each in logging.root.handlers if type(each) is logging.StreamHandler]:
        logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with its tables made, which takes seconds: copy the file instead of making another."""
    from nasctl.databases import checkpoint
    from nasctl.tracking.store import MlflowTracker

    folder = tmp_path_factory.mktemp("mlflow")
    path = folder / "mlflow.db"
    MlflowTracker(f"sqlite:///{path}", folder / "artifacts", "Default")
    checkpoint(path, whole=True)
    return path
