"""Commands whose help shows examples first."""

from __future__ import annotations

import inspect
from typing import Any

import click

__all__ = ["ExampleCommand", "ExampleGroup"]


def _write(examples: str, formatter: click.HelpFormatter) -> None:
    formatter.write_paragraph()
    formatter.write("Examples:\n")
    for line in inspect.cleandoc(examples).splitlines():
        formatter.write(f"  {line}\n")


class ExampleCommand(click.Command):
    """A command with `examples`, one per line, shown behind its first words and before its options."""

    def __init__(self, *args: Any, examples: str, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text, then the examples."""
        super().format_help_text(ctx, formatter)
        _write(self.examples, formatter)


class ExampleGroup(click.Group):
    """A group of commands with `examples`, as ExampleCommand has them."""

    def __init__(self, *args: Any, examples: str, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text, then the examples."""
        super().format_help_text(ctx, formatter)
        _write(self.examples, formatter)
