"""How long a fresh `nasctl --help` takes: docs/benchmarks.md, "The first answer"."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench


def test_help_takes_a_third_of_a_second():
    command = [Path(sys.executable).parent / "nasctl", "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    print(f"nasctl --help: {min(seconds):.2f} s, best of {len(seconds)}")
    assert min(seconds) <= 0.3
