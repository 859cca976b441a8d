"""`nasctl tune`: studies that choose a cell from a pool."""

from __future__ import annotations

import click

from nasctl.cli.examples import ExampleCommand
from nasctl.cli.options import composed, study_flags
from nasctl.cli.studies import run_studies

__all__ = ["tune"]

EXAMPLES = """
nasctl tune sweep=demo cell=random       minutes, nothing to download
nasctl tune dataset=sick embedding=glove model=esim cell=random layers=CL
nasctl tune dataset=sick embedding=glove model=esim layers=RL
nasctl tune sweep=demo cell=named 'cell.names=[gru,enas-24]'
nasctl tune sweep=demo cell=file 'cell.files=[mine.json]'
"""


@click.command(cls=ExampleCommand, examples=EXAMPLES)
@composed
@study_flags
def tune(overrides: tuple[str, ...], conf_dirs: tuple[str, ...], **flags: bool) -> None:
    """Tune a pool of cells in a study, and test its best trial once.

    cell= says where the cells come from, layers= where they stand: one letter per layer, C the cell, L an LSTM. Which
    cell of the pool it is, is tuned with the rest. The sweep says what that is: the paper's, of 200 trials, unless
    sweep=NAME says another. Ctrl-C stops cleanly, and the same command goes on.
    """
    run_studies("tune", overrides, conf_dirs, **flags)
