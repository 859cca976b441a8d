"""`nasctl stop`, `resume`, `retry` and `logs`: studies that are there already, some driven by another process."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import studies
from studies import drive, order, study

from nasctl.cli import driving, progress
from nasctl.cli import studies as module
from nasctl.errors import FailedTrialsError, StateMismatchError
from nasctl.tuning.events import TrialEnded
from nasctl.tuning.folders import Command, DrivenFolder
from nasctl.tuning.owners import process_of
from nasctl.workers.logs import marker

pytestmark = pytest.mark.timeout(900)  # whoever comes first imports torch and MLflow

TINY = (
    *("sweep=demo", "model=bow", "dataset.pairs=60", "embedding.width=8", "training.epochs=1", "trials=3"),
    *("sampler=random", "study.space.batch_size=null", "training.batch_size=8"),
)
STUDY = "demo-sick-svd-bow"
OTHER = replace(study().run, data="f" * 16)
"""A run whose results are not those of the study `s`."""


@pytest.fixture
def in_process(monkeypatch):
    """Workers cost seconds to start; one inside this process does the same work."""
    from nasctl.workers.inprocess import InProcessPool

    monkeypatch.setattr(driving, "_pool", lambda _, stores, *__: InProcessPool(cache=stores.cache))
    monkeypatch.setattr(module, "slots", lambda *_: 1)


@pytest.fixture
def root(tmp_path):
    """The default store, with a whole study `s` of no-op jobs."""
    drive(tmp_path / "runs", [order(study(trials=2))])
    return tmp_path / "runs"


@contextlib.contextmanager
def driven(root, **options):
    """A process that drives the study `s`, once its first trial has ended."""
    command = [sys.executable, studies.__file__, str(root), json.dumps({"workers": 0, "seconds": 0.1, **options})]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in process.stdout:
            if json.loads(line)["event"] == "TrialEnded":
                break
        reader = threading.Thread(target=process.stdout.read)  # it must never wait for a reader
        reader.start()
        yield process
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


COMMANDS = (["stop"], ["resume"], ["retry", "--failed"], ["logs"])


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_study_is_told_with_near_names(nasctl, root, command):
    result = nasctl(*command, "t")
    assert result.exit_code == 2
    what = "study" if command[0] == "retry" else "study or search"
    assert result.stderr == f"nasctl: there is no {what} 't'; known: s\n"


@pytest.mark.parametrize("command", [["stop"], ["retry", "--failed"]])
def test_one_study_at_a_time(nasctl, root, command):
    result = nasctl(*command, "s", "t")
    assert (result.exit_code, result.stderr.partition(";")[0]) == (2, "nasctl: one study at a time, not s t")


@pytest.mark.parametrize("command", COMMANDS)
def test_where_nothing_is_nothing_is_made(nasctl, tmp_path, command):
    result = nasctl(*command, "s")
    assert result.exit_code == 2
    assert re.search("there is no study( or search)? 's'; there are none in", result.stderr)
    assert not list(tmp_path.iterdir())


# --- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "code"), [((), 130), (("--now",), 143)])
def test_a_driven_study_is_stopped(nasctl, tmp_path, now, code):
    with driven(tmp_path / "runs", trials=500) as process:
        assert "running (process" in nasctl("status").stdout
        result = nasctl("stop", "s", *now)
        assert result.exit_code == 0, result.stderr
        assert f"process {process.pid}, is asked to stop" in result.stderr
        assert ("its running trials end first" in result.stderr) == (not now)
        assert process.wait(20) == code
    assert result.stdout.startswith("s is stopped: ")
    assert result.stdout.endswith("; nasctl resume s\n")
    again = nasctl("stop", "s")
    assert (again.exit_code, again.stderr) == (3, "nasctl: nobody drives s; nasctl status says how far it is\n")


def test_only_the_process_that_was_recorded_is_sent_a_signal(nasctl, tmp_path):
    with driven(tmp_path / "runs", trials=500) as process:
        folder = DrivenFolder(tmp_path / "runs", "s")
        owner = folder.owner()
        assert process_of(folder, owner).pid == process.pid
        moved = replace(owner, created=owner.created - 3600)  # the clock was set: it has the lock all the same
        assert process_of(folder, moved).pid == process.pid
        elsewhere = DrivenFolder(tmp_path / "runs", "t")  # whose lock it has not
        others = {
            "another beginning": (elsewhere, replace(owner, created=owner.created - 60)),
            "no beginning": (elsewhere, replace(owner, created=None)),
            "another command": (folder, replace(owner, command=("nasctl", "tune"))),
        }
        for place, other in others.values():
            with pytest.raises(StateMismatchError, match="is not the one that was recorded"):
                process_of(place, other)
        with pytest.raises(StateMismatchError, match="is on node7"):
            process_of(folder, replace(owner, host="node7"))
        path = folder.path / "owner.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "command": ["nasctl", "tune"]}))
        refused = nasctl("stop", "s")
        assert refused.exit_code == 3
        assert refused.stderr.count("\n") == 1
        time.sleep(0.3)
        assert process.poll() is None
    with pytest.raises(StateMismatchError, match="has ended"):
        process_of(folder, owner)


# --- resume -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def interrupted_after_a_trial():
    """A study is stopped after its first trial, as by Ctrl-C."""
    follow = progress.follow

    def interrupted(events, metrics):
        for event in follow(events, metrics):
            yield event
            if isinstance(event, TrialEnded):
                events.close()
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(progress, "follow", interrupted)
        yield


@pytest.mark.usefixtures("in_process", "store")
def test_a_stopped_study_goes_on_by_its_own_command(nasctl, tmp_path, monkeypatch):
    with interrupted_after_a_trial():
        assert nasctl("baseline", *TINY).exit_code == 130
    assert "nasctl resume goes on with those that are stopped" in nasctl("status").stderr
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = nasctl("resume", 'store.root="../runs"', "--json")
    assert result.exit_code == 0, result.stderr
    assert (
        result.stderr.splitlines()[0] == f"resuming {STUDY}: 1 of 3 trials are done; nasctl baseline {' '.join(TINY)}"
    )
    assert json.loads(result.stdout)["trials"] == 3
    assert not list(elsewhere.iterdir())

    nothing = nasctl("resume")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith("no study in ")
    more = nasctl("resume", STUDY, "trials=4", f'store.root="{tmp_path / "runs"}"')
    assert (more.exit_code, STUDY in more.stdout) == (0, True)
    assert DrivenFolder(tmp_path / "runs", STUDY).command().overrides[-1] == "trials=4"
    for command in ("ui", "report"):  # typed where this one was
        assert f"nasctl {command} store.root={tmp_path / 'runs'}: " in more.stderr

    monkeypatch.chdir(tmp_path)
    other = nasctl("resume", STUDY, "training.epochs=2")
    assert other.exit_code == 3
    assert "was begun with other settings" in other.stderr
    renamed = nasctl("resume", STUDY, "study.name=t")
    assert renamed.exit_code == 3
    assert f"these settings are those of a study t, not of {STUDY}" in renamed.stderr
    assert nasctl("retry", STUDY, "--failed").exit_code == 3


def test_without_its_command_a_study_is_not_resumed(nasctl, root):
    unknown = nasctl("resume", "s")
    assert unknown.exit_code == 3
    assert "how s was asked for is not recorded (command.json)" in unknown.stderr
    folder = DrivenFolder(root, "s")
    folder.describe({}, "", Command("tune", ("sweep=demo",), (), "/nowhere"))
    gone = nasctl("resume", "s")
    assert gone.exit_code == 3
    assert "s was begun in /nowhere, which is gone; there, or elsewhere: nasctl tune sweep=demo" in gone.stderr
    folder.acquire()
    driven_now = nasctl("resume")
    folder.release()
    assert driven_now.exit_code == 0


# --- retry ------------------------------------------------------------------------------------------------------------


def test_only_what_failed_and_is_wanted_is_retried(nasctl, root):
    assert nasctl("retry", "s").exit_code == 2
    none = nasctl("retry", "s", "--failed")
    assert (none.exit_code, none.stderr) == (3, "nasctl: no trial of s has failed; nasctl status\n")
    drive(root, [order(study("t", trials=2, retries=0, run=OTHER), faults={"t/1": {"kind": "raise", "attempts": 9}})])
    replaced = nasctl("retry", "t", "--failed")
    assert replaced.exit_code == 3
    assert "all 2 trials that t wanted have finished" in replaced.stderr
    assert "trials=3 wants more" in replaced.stderr


@pytest.mark.usefixtures("in_process", "store")
def test_failed_trials_are_retried_by_the_command_of_the_study(nasctl):
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("nasctl.experiments.run.train", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no luck")))
        first = nasctl("baseline", *TINY, "retries=0", "max_failed=0")
    assert first.exit_code == FailedTrialsError.exit_code
    result = nasctl("retry", STUDY, "--failed", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(f"retrying the failed trials of {STUDY}: 0 of 3 trials are done; nasctl baseline")
    assert json.loads(result.stdout)["trials"] == 3
    assert json.loads(nasctl("status", "--json").stdout)["failed"] == 1
    assert nasctl("status", "--verify").exit_code == 0


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(root):
    path = root / "logs" / "worker-0.log"
    path.parent.mkdir()
    lines = [marker(), b"a banner", marker("t/0", 1), b"not ours", marker("s/0", 1), b"zero", marker("s/1", 2), b"one"]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def shown(result):
    assert result.exit_code == 0, result.stderr
    return [line.split(", 2")[0] for line in result.stdout.splitlines()]


def test_logs_of_a_study_and_of_a_trial(nasctl, log):
    assert shown(nasctl("logs", "s")) == [
        *("==> worker 0, starting", "a banner"),
        *("==> worker 0, s/0, attempt 1", "zero", "==> worker 0, s/1, attempt 2", "one"),
    ]
    assert shown(nasctl("logs", "s", "1")) == ["==> worker 0, s/1, attempt 2", "one"]
    assert shown(nasctl("logs", "s", "final")) == []
    for wrong in ("2", "-1", "x"):
        result = nasctl("logs", "s", "--", wrong)
        assert result.exit_code == 2
        assert f"s has no trial '{wrong}'; 0 to 1, or final" in result.stderr
    assert nasctl("logs", "s", "0", "1").exit_code == 2


def test_failed_attempts_are_told_from_the_store(nasctl, root):
    drive(root, [order(study("t", trials=2, run=OTHER), faults={"t/1": {"kind": "raise", "attempts": 1}})])
    (first, *words) = shown(nasctl("logs", "t", "1"))
    assert first.startswith("==> attempt 1 came to nothing (exception): ")
    assert any("Traceback" in line for line in words)
    assert "no worker has written anything about t" in nasctl("logs", "t").stderr


def test_logs_are_followed_until_nobody_drives_the_study(nasctl, log, root):
    began = threading.Event()

    def work():
        folder = DrivenFolder(root, "s")  # a lock belongs to its thread
        folder.acquire()
        began.set()
        time.sleep(0.5)
        with log.open("ab") as stream:
            stream.write(b"more\n")
        time.sleep(0.5)
        with log.open("ab") as stream:
            stream.write(marker("s/final", 1) + b"\nthe end\n")
        folder.release()

    worker = threading.Thread(target=work)
    worker.start()
    began.wait()
    told = shown(nasctl("logs", "s", "-f"))
    worker.join()
    assert told[-3:] == ["more", "==> worker 0, s/final, attempt 1", "the end"]
