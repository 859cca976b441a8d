"""The `nasctl` command: its family of commands, each imported when it is asked for, and how every failure ends."""

from __future__ import annotations

import difflib
import importlib
import logging
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import click

import nasctl
from nasctl.cli.examples import ExampleGroup
from nasctl.config.groups import top_keys
from nasctl.errors import MachineError, NasctlError, StoppedError

__all__ = ["main"]

COMMANDS: Mapping[str, str] = {
    "baseline": "nasctl.cli.baseline:baseline",
    "search": "nasctl.cli.search:search",
    "tune": "nasctl.cli.tune:tune",
    "train": "nasctl.cli.train:train",
    "report": "nasctl.cli.report:report",
    "data": "nasctl.cli.data:data",
    "cell": "nasctl.cli.cell:cell",
    "status": "nasctl.cli.status:status",
    "resume": "nasctl.cli.resume:resume",
    "retry": "nasctl.cli.resume:retry",
    "stop": "nasctl.cli.stop:stop",
    "logs": "nasctl.cli.logs:logs",
    "sync": "nasctl.cli.sync:sync",
    "ui": "nasctl.cli.status:ui",
    "doctor": "nasctl.cli.doctor:doctor",
    "completion": "nasctl.cli.completion:completion",
}
"""Name -> where the command is, in the order in which `--help` shows them."""


FULL_STOP = re.compile(r"(?<!\.)\.\s*$")
"""What a sentence ends with, and `KEY=...` does not."""

COMPLETE_VARIABLE = "_NASCTL_COMPLETE"
"""Under this name the shells' scripts ask, whatever the program was started as."""


class CommandLine(ExampleGroup):
    """A group that imports a command only when it is needed, and ends every mistake in one line and its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name, imported now."""
        module, _, name = COMMANDS.get(cmd_name, "").partition(":")
        command: click.Command | None = getattr(importlib.import_module(module), name) if name else None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. Raises click's own error, which knows near names, if none."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run the command that the arguments name and exit with its code; without `standalone_mode` errors come out."""
        complete_var = complete_var or COMPLETE_VARIABLE
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            code = _tell(error.format_message(), _help_hint(error), error.exit_code)
        except click.Abort:
            code = _tell("stopped", "", 130)
        except NasctlError as error:
            if logging.getLogger("nasctl").isEnabledFor(logging.DEBUG):
                raise
            code = _tell(str(error), error.hint, error.exit_code)
        except OSError as error:  # a file or folder that the user named and that cannot be read or written
            if error.filename is None or logging.getLogger("nasctl").isEnabledFor(logging.DEBUG):
                raise
            code = _tell(f"{error.filename}: {error.strerror}", "", MachineError.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


def _tell(message: str, hint: str, code: int) -> int:
    """Write one line to stderr, whatever line breaks the message brings along; the code."""
    line = "; ".join(FULL_STOP.sub("", part) for part in (message, hint) if part)
    click.echo(f"nasctl: {' '.join(line.split())}", err=True)
    return code


def _help_hint(error: click.ClickException) -> str:
    """Where to read on; for an option that is a setting (`--workers 4`), how settings are said."""
    if isinstance(error, click.NoSuchOption) and not error.possibilities:
        near = difflib.get_close_matches(error.option_name.lstrip("-").replace("-", "_"), top_keys(), n=1)
        if near:
            return f"did you mean {near[0]}=...?"
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{ctx.command_path} --help" if ctx else ""


EXAMPLES = """
nasctl baseline sweep=demo               an LSTM study on generated pairs
nasctl baseline dataset=sick embedding=glove model=esim trials=100
nasctl search search=demo                cells found by sharing weights
nasctl tune sweep=demo cell=searched     a study of the cells found
nasctl train --paper blm/glove/L/sick    one run with the paper's settings
nasctl report                            what ran, beside the paper's numbers
nasctl ui                                every run in the browser
"""


@click.group(
    cls=CommandLine,
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(nasctl.__version__, "--version", message="nasctl %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Say more about what happens, on stderr.")
@click.option("--debug", is_flag=True, help="As -v, in every detail, and with a traceback for every error.")
def main(*, verbose: bool, debug: bool) -> None:
    """Does a searched recurrent cell beat a well-tuned LSTM on your pairs?

    What is run is said by KEY=VALUE; `nasctl COMMAND --cfg` shows every key.
    """
    logger = logging.getLogger("nasctl")
    logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logger.handlers = [_ToStderr()]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)


class _ToStderr(logging.Handler):
    """What nasctl's modules log, as lines on whatever is stderr at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"nasctl: {self.format(record)}", err=True)


def _terminated(number: int, _: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: whatever is open is closed on the way out."""
    raise StoppedError("terminated", signal=number)
