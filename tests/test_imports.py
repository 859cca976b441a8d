"""What a fresh Python really loads: the command line stays light, and a worker stays a worker."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HELP = """
import json, sys
from nasctl.cli.main import main
sys.argv = ["nasctl", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("\\n" + json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
HEAVY = "hydra matplotlib mlflow numpy optuna pandas pydantic sklearn spacy torch transformers"
SCHEDULERS = "hydra jinja2 matplotlib mlflow omegaconf optuna pandas pooch pyarrow rich scipy sklearn spacy sqlalchemy"
SCHEDULERS += " huggingface_hub tokenizers transformers"
"""What only the scheduler's process and the preparation of data need."""


def loaded_after(program: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh Python holds after `program`, which prints sys.modules last on stderr."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_first_answer_is_light(option: str) -> None:
    before = children_seconds()
    loaded = loaded_after(HELP, option)
    assert sorted(loaded & set(HEAVY.split())) == []
    assert children_seconds() - before < 0.6  # processor time, so that a busy machine does not count; the aim is 0.3 s


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    ("module", "computes"),
    [
        pytest.param("nasctl.workers.session", False, id="a worker before its first job"),
        pytest.param("nasctl.experiments.run", True, id="a worker that trains"),
    ],
)
def test_a_worker_loads_no_library_of_the_scheduler(module: str, computes: bool) -> None:
    loaded = loaded_after(f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)")
    assert sorted(loaded & set(SCHEDULERS.split())) == []
    assert ("torch" in loaded) == computes


def test_the_measure_sees_what_is_loaded() -> None:
    program = "import json, sys, sqlite3\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    assert "sqlite3" in loaded_after(program)


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "nasctl", "--version"], capture_output=True, text=True, check=False)
    script = Path(sys.executable).parent / "nasctl"
    assert done.returncode == 0, done.stderr
    assert done.stdout == subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
