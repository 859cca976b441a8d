"""The command itself: help, and how every kind of failure ends."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import types

import pytest

from nasctl.cli import main as module
from nasctl.cli.main import COMMANDS, main
from nasctl.errors import MachineError, StateMismatchError, StoppedError, UsageError


@pytest.fixture
def failing(monkeypatch):
    """A command `nasctl fail` that raises what it is given."""
    import click

    def raising(error: BaseException):
        @click.command()
        def fail():
            """Fail."""
            raise error

        monkeypatch.setitem(sys.modules, "failing_command", types.SimpleNamespace(fail=fail))
        monkeypatch.setattr(module, "COMMANDS", {**COMMANDS, "fail": "failing_command:fail"})

    return raising


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS), ("data", "list"), ("data", "fetch"), ("data", "check")]
)
def test_help_shows_examples_first_in_80_columns(nasctl, command):
    result = nasctl(*command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    if command != ("data", "list"):
        assert result.stdout.index("Examples:") < result.stdout.index("Options:")
    assert "..." not in result.stdout.partition("Commands:")[2]  # no summary is cut short
    examples = result.stdout.partition("Examples:\n")[2].partition("\n\n")[0]
    assert "[" not in re.sub("'[^']*'", "", examples)  # zsh would take it for a pattern of file names


def test_help_lists_every_command_in_order(nasctl):
    listed = [line.split()[0] for line in nasctl("-h").stdout.partition("Commands:\n")[2].splitlines()]
    assert listed == list(COMMANDS)


def test_every_example_is_a_command_that_is_there(nasctl):
    for name in COMMANDS:
        for line in nasctl(name, "--help").stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines():
            assert line.strip().startswith((f"nasctl {name}", "dataset.")), line


def test_without_arguments_the_help_is_shown(nasctl):
    result = nasctl()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_the_version(nasctl):
    import nasctl as package

    assert nasctl("--version").stdout == f"nasctl {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "nasctl: No such command 'trian'. Did you mean 'train'?; nasctl --help"),
        (["train", "--wrokers", "3"], "nasctl: No such option '--wrokers'; did you mean workers=...?"),
        (["train", "--jsno"], "nasctl: No such option '--jsno'. Did you mean '--json'?; nasctl train --help"),
        (["train", "--cfg", "dataset=sik"], "nasctl: dataset=sik: there is no dataset called sik; did you mean sick?"),
        (["report", "--format", "pdf"], "nasctl: Invalid value for '--format': 'pdf' is not one of"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_code_2(nasctl, arguments, message):
    result = nasctl(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong", "right"), 2),
        (StateMismatchError("wrong", "right"), 3),
        (MachineError("wrong", "right"), 4),
        (StoppedError("wrong", "right"), 130),
        (StoppedError("wrong", "right", signal=15), 143),
    ],
)
def test_our_errors_are_one_line_and_their_code(nasctl, failing, error, code):
    failing(error)
    result = nasctl("fail")
    assert (result.exit_code, result.stderr) == (code, "nasctl: wrong; right\n")


def test_line_breaks_in_a_message_do_not_break_the_line(nasctl, failing):
    failing(UsageError("one\ntwo.", " three\n"))
    assert nasctl("fail").stderr == "nasctl: one two; three\n"


def test_a_full_stop_goes_and_three_dots_stay(nasctl, failing):
    failing(UsageError("dataset.train is needed.", "give dataset.train=..."))
    assert nasctl("fail").stderr == "nasctl: dataset.train is needed; give dataset.train=...\n"


def test_a_file_that_cannot_be_written_is_one_line_and_code_4(nasctl, failing):
    failing(PermissionError(errno.EACCES, "Permission denied", "/there/table.csv"))
    result = nasctl("fail")
    assert (result.exit_code, result.stderr) == (4, "nasctl: /there/table.csv: Permission denied\n")


def test_an_os_error_without_a_file_is_a_bug(nasctl, failing):
    failing(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    with pytest.raises(ConnectionResetError):
        nasctl("fail")


@pytest.mark.parametrize(
    "arguments",
    [("export", "24", "--out", "F/folder"), ("draw", "24", "--out", "F/24.mmd"), ("draw", "24", "--out", "F/a/24.mmd")],
)
def test_an_output_folder_that_is_a_file_is_named(nasctl, tmp_path, arguments):
    (tmp_path / "F").write_text("a file")
    result = nasctl("cell", *(word.replace("F/", f"{tmp_path}/F/") for word in arguments))
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
    assert f"{tmp_path}/F" in result.stderr


def test_ctrl_c_anywhere_is_code_130(nasctl, failing):
    failing(KeyboardInterrupt())
    result = nasctl("fail")
    assert result.exit_code == 130
    assert result.stderr.endswith("nasctl: stopped\n")


def test_a_bug_shows_its_traceback(nasctl, failing):
    failing(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        nasctl("fail")


def test_debug_shows_the_traceback_of_every_error(nasctl, failing):
    failing(UsageError("wrong"))
    with pytest.raises(UsageError):
        nasctl("--debug", "fail")
    assert nasctl("fail").exit_code == 2


def test_verbose_lets_the_modules_speak(nasctl, monkeypatch):
    import click

    @click.command()
    def speak():
        """Speak."""
        logging.getLogger("nasctl.data").info("seen")
        logging.getLogger("nasctl.data").debug("unseen")

    monkeypatch.setitem(sys.modules, "speaking_command", types.SimpleNamespace(speak=speak))
    monkeypatch.setattr(module, "COMMANDS", {"speak": "speaking_command:speak"})
    assert nasctl("speak").stderr == ""
    assert nasctl("-v", "speak").stderr == "nasctl: seen\n"


def test_errors_come_out_where_the_caller_wants_them(failing):
    failing(UsageError("wrong"))
    with pytest.raises(UsageError):
        main(["fail"], standalone_mode=False)


def test_sigterm_ends_a_command_as_a_clean_stop(nasctl, monkeypatch):
    import click

    @click.command()
    def wait():
        """Wait."""
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(sys.modules, "waiting_command", types.SimpleNamespace(wait=wait))
    monkeypatch.setattr(module, "COMMANDS", {"wait": "waiting_command:wait"})
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = nasctl("wait")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.exit_code, result.stderr) == (143, "nasctl: terminated\n")


def test_a_closed_pipe_is_no_traceback(tmp_path):
    command = f"{sys.executable} -m nasctl data list --json | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
