"""Builders of one cache that meet, and one that is killed: processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from encoders import part, spec, tiny_encoder

from nasctl.embeddings import building

pytestmark = pytest.mark.faults

PAIRS = [("the cats run", "a dog"), ("w1 w2", "w3"), ("", "the dog")]

BUILDER = """
import sys, time
from pathlib import Path
tests, folder, cache, pause = sys.argv[1:]
sys.path.insert(0, tests)
from encoders import part, spec
from nasctl.embeddings import building
from nasctl.embeddings.contextual import Encoder
encode = Encoder.encode
def slowly(self, inputs):
    print("encoding", flush=True)
    for rows in encode(self, inputs):
        time.sleep(float(pause))
        yield rows
Encoder.encode = slowly
pairs = [("the cats run", "a dog"), ("w1 w2", "w3"), ("", "the dog")]
print(building.prepare(spec(folder), {"train": part(*pairs)}, 64, Path(cache)).digest, flush=True)
"""


@pytest.fixture
def builder(tmp_path):
    """Starts a builder that pauses so many seconds before it writes what was encoded."""
    folder, started = tiny_encoder(tmp_path / "tiny"), []

    def start(pause: float) -> subprocess.Popen[str]:
        tests = str(Path(__file__).parents[1])
        command = [sys.executable, "-c", BUILDER, tests, str(folder), str(tmp_path / "cache"), str(pause)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, bufsize=1))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


def wait_for(stream, words: str) -> None:
    """Read lines until one holds these words."""
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"it ended without saying {words!r}")


def expected(tmp_path: Path) -> str:
    return building.prepare(spec(tmp_path / "tiny"), {"train": part(*PAIRS)}, 64, tmp_path / "other").digest


def test_of_two_at_once_one_builds_and_both_have_it(builder, tmp_path):
    answers = [each.communicate(timeout=120) for each in [builder(3), builder(3)]]
    said = sorted(out.split() for out, _ in answers)
    assert said == sorted([[expected(tmp_path)], ["encoding", expected(tmp_path)]])
    assert sum("another process encodes the same pairs" in errors for _, errors in answers) <= 1


def test_a_killed_builder_leaves_the_work_to_the_next(builder, tmp_path):
    first = builder(600)
    wait_for(first.stdout, "encoding")
    folder = tmp_path / "cache" / "features"
    assert list(folder.glob(".*.arr.*"))  # what it has begun to write
    second = builder(0)
    wait_for(second.stderr, "another process encodes the same pairs; waiting for it")
    first.kill()
    out, errors = second.communicate(timeout=120)
    assert out.split() == ["encoding", expected(tmp_path)], errors
    assert [path.suffix for path in sorted(folder.iterdir())] == [".arr", ".lock"]


def test_a_flipped_byte_is_found_by_the_next_command(builder, tmp_path):
    assert builder(0).communicate(timeout=120)[0].split()[0] == "encoding"
    (path,) = (tmp_path / "cache" / "features").glob("*.arr")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:])
    out, errors = builder(0).communicate(timeout=120)
    assert out.split()[0] == "encoding"
    assert "was changed after it was written" in errors
    assert path.read_bytes() == whole
