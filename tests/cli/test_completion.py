"""Shell completion: commands, options, groups and their options, from the names of files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import click
import pytest

from nasctl.cli.options import OverrideType

LIGHT = {"hydra", "pydantic", "torch", "mlflow", "optuna", "pandas", "numpy"}


def completed(incomplete: str, **params: object) -> list[str]:
    ctx = click.Context(click.Command("train"))
    ctx.params = params
    return [item.value for item in OverrideType().shell_complete(ctx, click.Argument(["x"]), incomplete)]


def test_groups_first_then_their_options():
    assert completed("da") == ["dataset="]
    assert {"dataset=", "model=", "sweep="} <= set(completed(""))
    assert completed("dataset=de") == ["dataset=demo", "dataset=demo-mrpc", "dataset=demo-sick", "dataset=demo-stsb"]
    assert "sweep=paper/blm-glove-lstm" in completed("sweep=paper/")
    assert completed("nosuch=") == []


def test_own_groups_are_completed_too(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.yaml").touch()
    assert "training=mine" in completed("training=", conf_dirs=(str(tmp_path),))
    assert completed("training=", conf_dirs=(str(tmp_path / "nowhere"),)) == []


def test_completing_imports_nothing_heavy():
    program = (
        "import os, sys\n"
        "os.environ |= {'COMP_WORDS': 'nasctl train data', 'COMP_CWORD': '2', '_NASCTL_COMPLETE': 'bash_complete'}\n"
        "from nasctl.cli.main import main\n"
        "try:\n    main([], prog_name='nasctl')\n"
        "finally:\n    print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    began = time.process_time()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "plain,dataset=\n"
    assert not LIGHT & set(eval(done.stderr.splitlines()[-1]))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(nasctl, shell):
    assert "_NASCTL_COMPLETE" in nasctl("completion", shell).stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("nasctl tr", ["train"]),
        ("nasctl train --pa", ["--paper"]),
        ("nasctl train dat", ["dataset="]),
        ("nasctl train dataset=si", ["sick"]),  # bash itself keeps what stands before "="
        ("nasctl train dataset=sick model=es", ["esim"]),
        ("nasctl train sweep=paper/esim-bert-l", ["paper/esim-bert-lstm"]),
    ],
)
def test_bash_completes_behind_an_equals_sign(nasctl, tmp_path, line, reply):
    wrapper = tmp_path / "nasctl"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m nasctl "$@"\n')
    wrapper.chmod(0o755)
    script = nasctl("completion", "bash").stdout.replace("compopt", ": compopt")  # works in a real completion only
    script += (
        f'COMP_LINE="{line}" COMP_POINT={len(line)}\n_nasctl_completion {wrapper}\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == reply
