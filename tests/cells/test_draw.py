"""Pictures of cells: what is drawn as one node, what lines say, and that nothing written by a user is markup."""

import re
import shutil
import subprocess

import pytest
from cells.graphs import cell_graphs
from hypothesis import given, settings

from nasctl.cells import draw
from nasctl.cells.draw import to_dot, to_mermaid, to_picture
from nasctl.cells.graph import CellGraph, Op, Step
from nasctl.cells.library import LIBRARY
from nasctl.cells.text import from_text
from nasctl.errors import MachineError, UsageError

NASTY = 'a "b" \\ <c> & ; ] \n %% --- {d}'


def nodes(mermaid):
    return re.findall(r'^  (\w+)\(\[?"([^"]*)"\]?\):::(\w+)$', mermaid, re.MULTILINE)


def lines(mermaid):
    return re.findall(r"^  (\w+) (-->|==>)(?:\|([^|]*)\|)? (\w+)$", mermaid, re.MULTILINE)


def test_an_enas_cell_looks_like_its_tree():
    """Row 24: node 1 is the child of 0, and 2 to 5 are children of 1 and leaves."""
    picture = to_mermaid(LIBRARY["enas-24"].graph)
    blocks = [(name, text.split(" | ")[1]) for name, text, _ in nodes(picture) if text.startswith("blend")]
    assert sorted(activation for _, activation in blocks) == [
        "relu",
        "sigmoid",
        "sigmoid",
        "sigmoid",
        "sigmoid",
        "tanh",
    ]
    (mean,) = (name for name, text, _ in nodes(picture) if text == "mean")
    root, trunk = (name for name, _ in blocks[:2])
    assert {source for source, *_, target in lines(picture) if target == mean} == {name for name, _ in blocks[2:]}
    assert [(source, way) for source, way, _, target in lines(picture) if target == root] == [
        ("x", "-->"),
        ("h1", "-->"),
        ("h1", "==>"),
    ]
    assert {source for source, *_, target in lines(picture) if target in dict(blocks[2:])} == {trunk}
    assert (mean, "==>", "", "next1") in lines(picture)


def test_an_lstm_shows_its_gates_and_the_one_that_starts_open():
    found = [(text, look) for _, text, look in nodes(to_mermaid(LIBRARY["lstm"].graph))]
    assert ("sigmoid +1", "gate") in found
    assert ("mul<br/>sigmoid | tanh", "combination") in found
    assert [text for text, look in found if look == "state"] == ["h1", "h2", "next h1", "next h2"]


def test_what_is_dead_or_unread_is_not_drawn():
    cell = CellGraph(("H", "H"), (Step(Op.TANH, (1,)), Step(Op.RELU, (2,))), (4, 5), ("D",))
    assert [name for name, *_ in nodes(to_mermaid(cell))] == ["h1", "v2", "next1"]


def test_lines_say_what_is_shared_and_which_is_which():
    cell = from_text(
        "v2 = linear(x, h1); v3 = linear(v2@w2, v2); v4 = sub(v3, v2); next h1 = blend(add(v4, v4), h1, v2)"
    )
    said = sorted(text for _, _, text, _ in lines(to_mermaid(cell)) if text)
    assert said == ["2 times", "a", "a", "b", "b", "w2", "w2", "z"]


@settings(deadline=None, max_examples=30)
@given(cell_graphs())
def test_every_line_joins_two_nodes(graph):
    picture = to_mermaid(graph)
    known = {name for name, *_ in nodes(picture)}
    drawn = lines(picture)
    ends = {source for source, *_ in drawn} | {target for *_, target in drawn}
    assert ends == known
    assert len(picture.splitlines()) == 1 + len(nodes(picture)) + len(drawn) + picture.count("classDef")


def test_every_op_can_be_drawn():
    for op in Op:
        args = (1,) * op.value.least
        cell = CellGraph(("H",), (Step(op, args, ("w",) if op is Op.LINEAR else ()),), (2,))
        assert op.label.replace("_", " ") in to_mermaid(cell)
        assert op.label.replace("_", " ") in to_dot(cell)


def test_a_title_is_text():
    assert '"a \\"b\\" \\\\ <c> & ; ] %% --- {d}"' in to_dot(LIBRARY["rnn"].graph, NASTY)
    assert to_mermaid(LIBRARY["rnn"].graph, NASTY).splitlines()[1] == 'title: "a \\"b\\" \\\\ <c> & ; ] %% --- {d}"'


def test_a_kind_of_picture_that_is_none_is_told_with_the_right_ones():
    with pytest.raises(UsageError, match="'pnk'") as raised:
        to_picture(LIBRARY["rnn"].graph, "pnk")
    assert "png" in raised.value.hint


def test_a_machine_without_graphviz_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="`dot` is not there") as raised:
        to_picture(LIBRARY["rnn"].graph, "svg")
    assert "apt install graphviz" in raised.value.hint
    assert "Mermaid" in raised.value.hint


@pytest.mark.parametrize(
    ("script", "message"), [("echo it broke >&2; exit 3", "it broke"), ("exec sleep 9", "was not done")]
)
def test_a_graphviz_that_fails_or_hangs_is_told(tmp_path, monkeypatch, script, message):
    program = tmp_path / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr(draw, "LIMIT_SECONDS", 0.2)
    with pytest.raises(MachineError, match=message):
        to_picture(LIBRARY["rnn"].graph, "svg")


def test_pictures_are_text_or_bytes_of_their_kind(tmp_path, monkeypatch):
    """A stand-in for `dot` that gives back what it was asked for; the real one is below."""
    asked = []

    def run(command, *, input, **_):  # noqa: A002 - subprocess calls it so
        asked.append(command[1])
        return subprocess.CompletedProcess(command, 0, stdout=input, stderr=b"")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    graph = LIBRARY["enas-24"].graph
    assert to_picture(graph, "svg", "T") == to_dot(graph, "T")
    assert to_picture(graph, "png", "T") == to_dot(graph, "T").encode()
    assert asked == ["-Tsvg", "-Tpng"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("name", ["lstm", "enas-24"])
def test_graphviz_draws_what_is_written(name):
    svg = to_picture(LIBRARY[name].graph, "svg", NASTY)
    assert svg.count('class="node"') == to_mermaid(LIBRARY[name].graph).count(":::")
    assert "&lt;c&gt;" in svg
    assert to_picture(LIBRARY[name].graph, "png").startswith(b"\x89PNG")
