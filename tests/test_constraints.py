"""constraints.txt: every package of nasctl[dev] pinned, nothing else, each pin inside pyproject.toml's range."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def pins(text: str) -> Mapping[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)]
    assert not odd, f"a pin is name==version: no local version, hash, path or option: {odd}"
    return dict(line.split("==") for line in lines)


def asked() -> list[Requirement]:
    """What pyproject.toml asks for with the extra dev."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


def needed(requirements: Iterable[Requirement]) -> set[str]:
    """The names of everything that `requirements` bring along in this environment."""
    seen: dict[str, set[str]] = {}
    todo = [(canonicalize_name(each.name), extra) for each in requirements for extra in ("", *each.extras)]
    while todo:
        name, extra = todo.pop()
        if extra in seen.setdefault(name, set()):
            continue
        seen[name].add(extra)
        for line in importlib.metadata.distribution(name).requires or []:
            each = Requirement(line)
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(each.name), more) for more in ("", *each.extras)]
    return set(seen)


def test_every_pin_fits_the_range():
    pinned = pins((ROOT / "constraints.txt").read_text("utf-8"))
    outside = [str(each) for each in asked() if not each.specifier.contains(pinned[canonicalize_name(each.name)])]
    assert not outside


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are those of Linux; other systems need a few others")
def test_the_pins_are_what_is_needed():
    pinned = set(pins((ROOT / "constraints.txt").read_text("utf-8")))
    cuda = {name for name in needed(asked()) - pinned if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert needed(asked()) - pinned - cuda == set()
    assert pinned - needed(asked()) == set()


@pytest.mark.parametrize(
    "line", ["torch==2.13.0+cpu", "-e .", "torch @ file:///torch.whl", "torch>=2", "a==1 --hash=x"]
)
def test_an_odd_pin_is_refused(line):
    with pytest.raises(AssertionError, match="a pin is name==version"):
        pins(f"# fine\nnumpy==2.4.6\n{line}\n")
