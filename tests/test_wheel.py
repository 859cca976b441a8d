"""The wheel alone is the whole tool: built, installed in a fresh environment, it composes from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="the package `build` is missing: pip install -e '.[dev]'")


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, checkout, where=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts' folder of a fresh environment that holds the wheel, and sees this environment's libraries only."""
    place = tmp_path_factory.mktemp("a place with spaces")
    run(sys.executable, "-m", "venv", "--without-pip", place, where=place)
    python = place / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--no-cache-dir",
        wheel,
        where=place,
    )
    (packages,) = place.glob("lib/python*/site-packages")
    # a .pth brings the libraries; the editable nasctl of this environment hangs on a .pth of its own, which is not read
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return place / "bin"


def run(*command: object, where: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_conf_sweeps_and_reference(checkout, wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("conf", "nasctl/conf"), ("sweeps", "nasctl/sweeps"), ("nasctl", "nasctl")):
        files = [path for path in (checkout / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        missing = {f"{inside}/{path.relative_to(checkout / folder).as_posix()}" for path in files} - held
        assert files
        assert not missing
    assert not [name for name in held if name.startswith(("tests/", "conf/", "sweeps/"))]


def test_the_installed_command_is_the_wheels(checkout, installed, tmp_path):
    where = run(installed / "python", "-c", "import nasctl; print(nasctl.__file__)", where=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    import nasctl

    assert nasctl.__version__ in run(installed / "nasctl", "--version", where=tmp_path)


def test_the_installed_command_composes_from_another_folder(installed, tmp_path):
    composed = run(installed / "nasctl", "baseline", "sweep=demo", "--cfg", where=tmp_path)
    import yaml

    settings = yaml.safe_load(composed)
    assert settings["model"]["name"] == "blm"  # from conf/
    assert settings["study"]["space"]  # from sweeps/
    assert not list(tmp_path.iterdir())  # to look is not to write
