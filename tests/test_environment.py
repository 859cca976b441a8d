"""The strict environment of conftest.py is really strict."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.connect", (None, ("192.0.2.1", 80))),
        ("socket.connect", (None, ("2001:db8::1", 80, 0, 0))),
        ("socket.sendto", (None, ("192.0.2.1", 53))),
        ("socket.getaddrinfo", ("example.org", 443, 0, 0, 0)),
    ],
)
def test_the_network_ends_at_loopback(event, arguments):
    with pytest.raises(PermissionError, match="loopback only"):
        sys.audit(event, *arguments)  # what the socket module says before it acts; nothing is sent


def test_loopback_works():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
    assert socket.getaddrinfo("localhost", 80)


def test_torch_has_one_thread():
    import torch

    assert torch.get_num_threads() == 1


def test_home_is_empty_and_the_folder_is_ones_own(checkout):
    assert Path.home() == Path(os.environ["HOME"])
    assert not list(Path.home().rglob("*"))
    assert not Path.cwd().is_relative_to(checkout)
    assert not list(Path.cwd().iterdir())


def test_a_child_inherits_it():
    asked = "import os; print(os.path.expanduser('~'), os.environ['OMP_NUM_THREADS'], 'NASCTL_STORE_URL' in os.environ)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert said == [str(Path.home()), "1", "False"]
