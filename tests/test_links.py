"""What the documents point at is there: files, headings, pictures, Makefile targets, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
HTML_LINK = re.compile(r"(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def broken_links(document: Path) -> Iterator[str]:
    """Every relative link of `document` that leads nowhere."""
    prose = FENCE.sub("", document.read_text("utf-8"))
    for target in LINK.findall(prose) + HTML_LINK.findall(prose):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue  # an address elsewhere: not for a test without a network
        path, _, anchor = target.partition("#")
        aim = (document.parent / path).resolve() if path else document
        if not aim.exists():
            yield f"{document.name}: {target}: there is no such file"
        elif anchor and anchor not in anchors(aim):
            yield f"{document.name}: {target}: there is no such heading"


def anchors(document: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(document: Path) -> str:
    """Everything that `document` sets as code."""
    text = document.read_text("utf-8")
    fenced = "\n".join(match.group(0) for match in FENCE.finditer(text))
    return fenced + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))


def commands(document: Path) -> list[str]:
    """Every command of nasctl that `document` shows in a block, lines that go on joined."""
    fenced = "\n".join(match.group(0) for match in FENCE.finditer(document.read_text("utf-8")))
    return re.findall(r"^nasctl .*$", fenced.replace("\\\n", ""), re.MULTILINE)


def make_targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document):
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_targets_exist(document):
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code(document)))
    assert named <= make_targets((ROOT / "Makefile").read_text("utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_commands_exist(document):
    import click

    from nasctl.cli.main import main

    named = set(re.findall(r"\bnasctl ([a-z]+)\b", code(document)))
    assert named <= set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_brackets_are_quoted_as_zsh_wants_them(document):
    assert [line for line in commands(document) if "[" in re.sub("'[^']*'", "", line)] == []


def test_the_readme_names_the_two_commands_and_every_other():
    import click

    from nasctl.cli.main import main

    readme = code(ROOT / "README.md")
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z-]+)", readme))
    assert set(main.list_commands(click.Context(main))) <= set(re.findall(r"\bnasctl ([a-z]+)\b", readme))


SHOWN = [line for line in commands(ROOT / "README.md") if re.match(r"nasctl (baseline|data|search|train|tune) ", line)]


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_of_the_readme_is_accepted(command, monkeypatch):
    from click.testing import CliRunner

    from nasctl.cli.main import main
    from nasctl.data import fetch

    fetched: list[str] = []
    monkeypatch.setattr(fetch, "fetch", lambda names, *_, **__: fetched.extend(names) or [])
    words = shlex.split(command)[1:]
    result = CliRunner().invoke(main, words if words[0] == "data" else [*words, "--cfg"])
    assert result.exit_code == 0, result.stderr
    assert words[:2] != ["data", "fetch"] or fetched == list(fetch.PUBLISHED)


def test_every_fault_has_its_test():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/faults.md").read_text("utf-8")))
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert named <= set(re.findall(r"^def (test_\w+)\(", tests, re.MULTILINE))
    assert len(named) > 20


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 100


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A heading: of `its` own\n```\n# no heading\n```\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](gone.md) [c](there.md#a-heading-of-its-own) [d](there.md#no-heading) [e](https://x.org/gone.md)\n"
        '```\n[f](gone-too.md)\n```\n![g](gone.png) <img src="gone.svg">\n',
        encoding="utf-8",
    )
    found = [line.split(": ")[1] for line in broken_links(page)]
    assert found == ["gone.md", "there.md#no-heading", "gone.png", "gone.svg"]
    assert make_targets("demo: .venv/x ## shown\n\techo a: b\nVARIABLE := x\n") == {"demo"}


def test_every_picture_is_shown_somewhere():
    shown = "".join(document.read_text("utf-8") for document in DOCUMENTS)
    assert [path.name for path in (ROOT / "docs" / "pictures").glob("*") if path.name not in shown] == []
