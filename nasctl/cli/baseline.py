"""`nasctl baseline`: studies of LSTMs."""

from __future__ import annotations

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import composed, study_flags
from nasctl.cli.studies import run_studies

__all__ = ["baseline"]

EXAMPLES = """
nasctl baseline sweep=demo               minutes, nothing to download
nasctl baseline dataset=sick embedding=glove model=blm sweep=small
nasctl baseline dataset=sick embedding=glove model=esim workers=8
nasctl baseline -m dataset=sick,stsb embedding=glove model=blm,esim --dry-run
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@study_flags
def baseline(overrides: tuple[str, ...], conf_dirs: tuple[str, ...], **flags: bool) -> None:
    """Tune LSTMs in a study, and test its best trial once.

    The sweep says what is searched; the paper's, of 500 trials, unless sweep=NAME says another. Ctrl-C stops cleanly,
    and the same command goes on. With -m several studies share the workers.
    """
    run_studies("baseline", overrides, conf_dirs, **flags)
