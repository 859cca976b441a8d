"""The errors that a user can cause or meet, each with what would put it right.

`nasctl.cli` turns every one of them into one line and its exit code; anything else is a bug and shows a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasctlError(Exception):
    """A failure with a cause that can be named: what was asked and what is wrong, and in `hint` what would be right."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(NasctlError):
    """The command, an override or an input file asks for something that cannot be."""

    exit_code = 2


class StateMismatchError(NasctlError):
    """What is stored and what is asked for do not belong together (another identity, another owner)."""

    exit_code = 3


class MachineError(NasctlError):
    """The machine lacks something: a device, disk space, a package, a server, a file that only it can provide."""

    exit_code = 4


class FailedTrialsError(NasctlError):
    """The study ended, with more failed trials than allowed."""

    exit_code = 5


class StoppedError(NasctlError):
    """The user or the system asked for a stop, and it was a clean one; `signal` is 2 (Ctrl-C) or 15."""

    def __init__(self, message: str, hint: str = "", signal: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal


def first_line(error: BaseException) -> str:
    """What a library's error says, without what it says below; its class where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def nearest(asked: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of the known words, and all of them where they are few."""
    words = sorted(known)
    close = difflib.get_close_matches(asked, words, n=2, cutoff=0.6)
    parts = [f"did you mean {' or '.join(close)}?"] if close else []
    if 0 < len(words) <= 20:
        parts.append(f"known: {', '.join(words)}")
    return " ".join(parts)
