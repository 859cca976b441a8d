"""One worker, spoken to by hand: what it says, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from studies import job, noop_record

from nasctl.files import file_sha256
from nasctl.specs import run_digest
from nasctl.workers.protocol import (
    PROTOCOL,
    Done,
    Drop,
    Epoch,
    Hello,
    Job,
    Keep,
    Kept,
    LineSplitter,
    Ready,
    Sender,
    Start,
    Stop,
    Stopped,
    decode,
    encode,
)

COMMAND = (sys.executable, "-P", "-m", "nasctl.workers.worker")
START = Start(PROTOCOL, "cache", "cpu", 1, beat=60.0, grace=0.5, resume_after=120.0, resume_every=60.0, warm=())


class Spoken:
    """A worker's process, and what has been said so far ("<" from it, ">" to it)."""

    def __init__(self, *options, errors=subprocess.PIPE, **more):
        command = (COMMAND[0], *options, *COMMAND[1:])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0, start_new_session=True, **more
        )
        self.sender, self.lines = Sender(self.process.stdin.fileno()), LineSplitter()
        self.waiting, self.transcript = [], []

    def say(self, message):
        self.transcript.append(f"> {json.dumps(json.loads(encode(0, message))['message'])}")
        self.sender.send(message)

    def hear(self, kind=None):
        while True:
            while not self.waiting:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, "the worker has ended"
                self.waiting += self.lines.feed(data)
            line = self.waiting.pop(0)
            self.transcript.append(f"< {line.decode()}")
            message = decode(line).message
            if kind is None or isinstance(message, kind):
                return message

    def begin(self, start=START):
        self.hear(Hello)
        self.say(start)
        self.hear(Ready)
        return self


@pytest.fixture
def worker():
    began = []

    def begin(*options, **more):
        began.append(Spoken(*options, **more))
        return began[-1]

    yield begin
    for each in began:
        with each.process:
            each.process.kill()


GOLDEN = Path(__file__).parents[1] / "golden" / "worker.jsonl"


def test_a_session_goes_as_documented(worker, checkout):
    spoken = worker().begin()
    scratch = Path("scratch").absolute()
    spoken.say(job("s/0", scratch=scratch, epochs=2))
    for _ in range(3):
        spoken.hear()
    spoken.say(Keep("s/0", 1, str(scratch / "best.safetensors")))
    spoken.hear()
    spoken.say(job("s/1", scratch=scratch))
    for _ in range(2):
        spoken.hear()
    spoken.say(Drop("s/1", 1))
    spoken.say(job("s/2", 2, scratch=scratch, faults={"s/2": {"kind": "raise", "attempts": 2}}))
    spoken.hear()
    spoken.say(Stop())
    spoken.hear()
    assert spoken.process.wait(10) == 0
    told = [steady(line, scratch) for line in spoken.transcript]
    assert told == GOLDEN.read_text("utf-8").splitlines()
    documented = (checkout / "docs" / "protocol.md").read_text("utf-8")
    for kind in re.findall(r'"type": ?"(\w+)"', "\n".join(told)):
        assert f'"type":"{kind}"' in documented


def steady(line, scratch):
    """What differs from run to run and from machine to machine, taken out."""
    line = line.replace(str(scratch), "scratch")
    line = re.sub(r'("(?:pid|rss_bytes|seconds|train|result_version)": ?)[0-9.e-]+', r"\g<1>0", line)
    line = re.sub(r'("(?:host|python|torch|nasctl|sha256|digest)": ?)"[0-9a-z.+-]*"', r'\1""', line)
    return re.sub(r'("traceback": ?)"(?:[^"\\]|\\.)*"', r'\1""', line)


def test_a_ready_worker_has_loaded_nothing_heavy(worker, tmp_path):
    with (tmp_path / "imports").open("wb") as errors:
        spoken = worker("-X", "importtime", errors=errors).begin()
        spoken.say(job())
        assert [spoken.hear().type for _ in range(2)] == ["epoch", "done"]
        spoken.say(Drop("s/0", 1))
        spoken.say(Stop())
        spoken.process.wait(30)
    loaded = {line.rpartition("|")[2].strip() for line in (tmp_path / "imports").read_text().splitlines()}
    assert "nasctl.workers.noop" in loaded
    heavy = {"torch", "numpy", "spacy", "pandas", "pyarrow", "hydra", "optuna", "mlflow", "sqlalchemy", "click"}
    assert not heavy & loaded


def test_printing_does_not_disturb_the_conversation(worker, tmp_path):
    with (tmp_path / "errors").open("wb") as errors:
        spoken = worker(errors=errors).begin()
        spoken.say(job(faults={"s/0": {"kind": "print"}}))
        assert [spoken.hear().type for _ in range(2)] == ["epoch", "done"]
        spoken.say(Drop("s/0", 1))
        spoken.say(Stop())
        spoken.process.wait(10)
    assert "one that writes past Python" in (tmp_path / "errors").read_text()
    assert "prints where it should not" in (tmp_path / "errors").read_text()


def test_the_ends_are_not_inherited_and_nobody_can_read_them_by_chance(worker):
    spoken = worker().begin()
    files = Path(f"/proc/{spoken.process.pid}/fd")
    if not files.exists():
        pytest.skip("no /proc on this system")
    pipes = [number for number in files.iterdir() if str(number.readlink()).startswith("pipe:")]
    assert str((files / "0").readlink()) == os.devnull
    assert (files / "1").readlink() == (files / "2").readlink()
    private = [int(pipe.name) for pipe in pipes if int(pipe.name) > 2]
    assert len(private) == 2
    for number in private:
        flags = int((files.parent / "fdinfo" / str(number)).read_text().split("flags:")[1].split()[0], 8)
        assert flags & os.O_CLOEXEC


def test_it_beats_while_it_works(worker):
    spoken = worker().begin(replace(START, beat=0.05))
    spoken.say(job(seconds=0.5))
    beat = spoken.hear()
    while beat.job is None:
        beat = spoken.hear()
    assert (beat.type, beat.job, beat.attempt) == ("beat", "s/0", 1)
    assert beat.rss_bytes > 1_000_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_a_request_to_stop_after_the_epoch(worker, number):
    spoken = worker().begin()
    spoken.say(job(seconds=1.0, epochs=10))
    assert spoken.hear().epoch.epoch == 1
    os.kill(spoken.process.pid, number)
    last = spoken.hear()
    while last.type == "epoch":
        assert last.epoch.epoch < 5
        last = spoken.hear()
    assert (last.type, last.job, last.attempt) == ("stopped", "s/0", 1)
    assert spoken.process.wait(10) == 0


def test_it_leaves_the_terminals_interrupt_alone(worker):
    spoken = worker().begin()
    spoken.say(job(seconds=0.2))
    os.kill(spoken.process.pid, signal.SIGINT)
    assert [spoken.hear().type for _ in range(2)] == ["epoch", "done"]


def test_the_end_of_the_input_ends_it_after_the_epoch(worker):
    spoken = worker().begin(replace(START, grace=20.0))
    spoken.say(job(seconds=1.0, epochs=10))
    spoken.hear()
    began = time.monotonic()
    spoken.process.stdin.close()
    assert spoken.process.wait(10) == 0
    assert time.monotonic() - began < 5.0


def test_the_end_of_the_input_ends_it_even_when_it_hangs_and_all_that_it_started(worker, tmp_path):
    spoken = worker().begin()
    spoken.say(job(faults={"s/0": {"kind": "family"}}))
    deadline = time.monotonic() + 10
    while not (children := psutil.Process(spoken.process.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    spoken.process.stdin.close()
    assert spoken.process.wait(10) == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, 5)
    assert not alive


def test_it_notices_that_its_parent_is_gone_though_its_input_stays_open():
    script = f"""
import os, subprocess, sys
inward, outward = os.pipe()
worker = subprocess.Popen({COMMAND!r}, stdin=inward, stdout=subprocess.PIPE, start_new_session=True)
holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[outward])
os.write(outward, {encode(0, replace(START, beat=0.1))!r})
worker.stdout.readline(), worker.stdout.readline()
print(worker.pid, holder.pid, flush=True)
sys.stdin.readline()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as parent:
        worker, holder = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        parent.kill()
    try:
        worker.wait(10)
        assert holder.is_running()
    finally:
        holder.kill()


def test_what_arrives_twice_is_done_once(worker):
    spoken = worker().begin()
    line = encode(1, job())
    os.write(spoken.process.stdin.fileno(), line + line)
    assert [spoken.hear().type for _ in range(2)] == ["epoch", "done"]
    spoken.sender._seq = 2
    spoken.say(Drop("s/0", 1))
    spoken.say(Stop())
    assert spoken.hear().type == "stopped"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (encode(0, replace(START, protocol=PROTOCOL + 1)), f"the scheduler speaks protocol {PROTOCOL + 1}"),
        (b'{"seq":0,"message":{"type":"sing"}}\n', "not a message of protocol"),
        (encode(0, Ready(1)), "a ready message has no place here"),
        (encode(0, job()), "a job message has no place here"),
    ],
)
def test_what_it_cannot_understand_ends_it_in_one_line(worker, line, reason):
    spoken = worker()
    spoken.hear(Hello)
    os.write(spoken.process.stdin.fileno(), line)
    words = spoken.process.stderr.read().decode()
    assert spoken.process.wait(10) == 4
    assert len(words.splitlines()) == 1
    assert reason in words


def test_the_checkpoint_of_a_noop_job_is_evaluated(worker, tmp_path):
    spoken = worker().begin()
    spoken.say(job(scratch=tmp_path / "0"))
    done = [spoken.hear(), spoken.hear()][1]
    spoken.say(Keep("s/0", 1, str(tmp_path / "0" / "best")))
    kept = spoken.hear()
    final = replace(job("s/final", scratch=tmp_path / "final"), role="final", weights=kept.path, record=done.record)
    spoken.say(final)
    record = [spoken.hear(), spoken.hear()][1].record
    assert record.role == "final"
    assert record.test == record.dev == {"pearson": noop_record().value}
    assert record.digest == done.record.digest == run_digest_of(final)
    rows = [json.loads(line) for line in (tmp_path / "final" / "predictions.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["dev", "test"]


def run_digest_of(asked: Job):
    from nasctl.specs import RUN

    return run_digest(RUN.validate_json(json.dumps(asked.spec)))


@pytest.fixture
def this_checkout(checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))


@pytest.mark.usefixtures("this_checkout")
def test_a_stop_waits_for_what_becomes_of_weights(worker, tmp_path):
    spoken = worker().begin()
    asked = job(scratch=tmp_path)
    spoken.say(asked)
    spoken.hear(Done)
    spoken.say(Stop())
    time.sleep(0.2)
    spoken.say(Keep(asked.job, asked.attempt, str(tmp_path / "best")))
    assert spoken.hear() == Kept(asked.job, asked.attempt, str(tmp_path / "best"), file_sha256(tmp_path / "best"))
    assert spoken.hear() == Stopped(None, None)
    assert spoken.process.wait(10) == 0


@pytest.mark.usefixtures("this_checkout")
def test_a_sigterm_does_not_wait_for_it(worker, tmp_path):
    spoken = worker().begin()
    spoken.say(job(scratch=tmp_path))
    spoken.hear(Done)
    spoken.process.send_signal(signal.SIGTERM)
    assert spoken.hear() == Stopped(None, None)
    assert spoken.process.wait(10) == 0


@pytest.mark.usefixtures("this_checkout")
def test_a_job_on_its_way_when_the_stop_comes_is_told_to_be_left(worker, tmp_path):
    spoken = worker().begin()
    asked = job(scratch=tmp_path, seconds=1.0, epochs=2)
    os.write(spoken.process.stdin.fileno(), encode(1, asked) + encode(2, Stop()))  # seen before it, or after an epoch
    while isinstance(said := spoken.hear(), Epoch):
        pass
    assert said == Stopped(asked.job, asked.attempt)
