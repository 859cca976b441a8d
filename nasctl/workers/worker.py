"""A worker: `python -m nasctl.workers.worker`, one slot that speaks JSON lines with a scheduler.

Nothing may be imported before the protocol's two ends are safe from whatever a library prints or reads.
"""

from __future__ import annotations

import os
import sys


def take_ends() -> tuple[int, int]:
    """Private descriptors for the protocol's input and output; from now on, printing goes to standard error.

    Neither is inherited by a process that this one may start.
    """
    inward, outward = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return inward, outward


def main() -> int:
    """Serve until told to stop; the exit code."""
    inward, outward = take_ends()
    from nasctl.workers.session import Session  # noqa: PLC0415 - see above

    return Session(inward, outward).serve()


if __name__ == "__main__":
    sys.exit(main())
