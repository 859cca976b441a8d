"""Both notations of cells: every graph there and back, and what is said of what is no cell."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from cells.graphs import cell_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells import text
from nasctl.cells.graph import MOST_STEPS, Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY, gru, lstm, rnn
from nasctl.cells.rewrite import canonical
from nasctl.cells.text import from_json, from_text, read_cell, to_json, to_text
from nasctl.errors import UsageError

RNN = "next h1 = tanh(linear(x, h1, +, +))"


def renamed(graph: CellGraph, names: dict[str, str]) -> CellGraph:
    def step_of(step: Step) -> Step:
        weights = tuple(names[key] for key in step.weights)
        return replace(step, weights=weights, biases=tuple(Bias(names[b.key], b.start) for b in step.biases))

    return replace(graph, steps=tuple(map(step_of, graph.steps)))


# --- there and back ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(cell_graphs())
def test_every_cell_comes_back(graph):
    assert from_text(to_text(graph)) == graph
    assert from_json(json.loads(json.dumps(to_json(graph)))) == graph


@settings(deadline=None, max_examples=40)
@given(cell_graphs(most_steps=4), st.data())
def test_every_cell_comes_back_with_any_keys_and_starts(graph, data):
    """Also with the names that the notation would give itself, at places where it would not."""
    names = st.sampled_from(["w1", "w2", "w3", "b1", "b2", "", "ü #;,)(@", "x", "a%20b", "\ud800"]) | st.text()
    keys = [*graph.weights, *graph.biases]
    unique = data.draw(st.lists(names, min_size=len(keys), max_size=len(keys), unique=True))
    graph = renamed(graph, dict(zip(keys, unique, strict=True)))
    start = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    steps = tuple(replace(step, biases=tuple(Bias(b.key, start) for b in step.biases)) for step in graph.steps)
    graph = replace(graph, steps=steps)
    line = to_text(graph)
    assert "\n" not in line
    assert from_text(line) == graph
    assert from_json(json.loads(json.dumps(to_json(graph)))) == graph


@settings(deadline=None, max_examples=40)
@given(cell_graphs())
def test_a_canonical_text_names_only_what_is_shared(graph):
    form = canonical(graph)
    line = to_text(form)
    operands = [key for step in form.steps for key in (*step.weights, *(bias.key for bias in step.biases))]
    assert line.count("@") == len(operands) - len(set(operands))
    assert yaml.safe_load(f"cell: {line}") == {"cell": line}


def test_canonical_cells_read_like_formulas():
    assert to_text(canonical(rnn())) == RNN
    assert to_text(canonical(gru())) == (
        "next h1 = blend(sigmoid(linear(x, h1, +, +)), h1, "
        "tanh(add(mul(sigmoid(linear(x, h1, +, +)), linear(h1, +)), linear(x, +))))"
    )
    assert to_text(canonical(LIBRARY["enas-1"].graph)).count(";") == 1


def test_keys_that_are_not_canonical_are_shown():
    assert to_text(rnn()) == ("next h1 = tanh(linear(x@x/candidate, h1@h/candidate, +@candidate/1, +@candidate/2))")
    assert to_text(lstm()).count("+1@forget/1") == 1


def test_nesting_ends_where_it_is_hard_to_read():
    chain = CellGraph(("H",), tuple(Step(Op.TANH, (value,)) for value in range(1, 21)), (21,))
    assert max(part.count("(") for part in to_text(chain).split(";")) == text.DEEPEST + 1
    assert from_text(to_text(chain)) == chain


def test_a_person_may_write_lines_and_comments_and_names():
    written = """
    # an update gate alone (a comment; with a semicolon)
    gate = sigmoid(linear(x, h1, +-1.5e-1))
    new = tanh( linear( x , h1 ) )   # no bias

    next h1 = blend(gate, new, h1)
    """
    steps = (
        Step(Op.LINEAR, (0, 1), ("w1", "w2"), (Bias("b1", -0.15),)),
        Step(Op.SIGMOID, (2,)),
        Step(Op.LINEAR, (0, 1), ("w3", "w4")),
        Step(Op.TANH, (4,)),
        Step(Op.BLEND, (3, 5, 1)),
    )
    assert from_text(written) == CellGraph(("H",), steps, (6,))


def test_what_is_used_again_is_named():
    cell = from_text("v4 = linear(x, h1, +1); next h1 = tanh(linear(x@w1, v4@w2, +@b1)); next h2:D = x; m1:H")
    assert cell.weights == {"w1": "D", "w2": "H"}
    assert cell.biases == {"b1": 1.0}
    assert (cell.states, cell.masks) == (("H", "D"), ("H",))


def test_a_name_that_is_taken_is_not_given_again():
    """An operand without a key does not share the matrix that somebody called w2."""
    cell = from_text("next h1 = linear(x@w2, h1, +@b2, +)")
    assert cell.steps[0].weights == ("w2", "w3")
    assert [bias.key for bias in cell.steps[0].biases] == ["b2", "b3"]


def test_ten_thousand_steps_are_no_recursion():
    deep = f"next h1 = {'tanh(' * MOST_STEPS}h1{')' * MOST_STEPS}"
    assert len(from_text(deep).steps) == MOST_STEPS


# --- what is no cell --------------------------------------------------------------------------------------------------

WRONG_TEXTS = [
    ("", "holds no cell", "next h1 = tanh"),
    ("# nothing", "holds no cell", "next h1 = tanh"),
    ("hello world", "no part of a cell", "next h1 = tanh"),
    ("next h1 = tanhh(h1)", "statement 1 .* no op 'tanhh'", "did you mean tanh"),
    ("next h1 = tanh(v9); v9 = relu(h1)", "reads v9, which comes later", "earlier values only"),
    ("v2 = relu(v2); next h1 = v2", "reads v2, which comes later", "earlier values only"),
    ("v2 = tanh(h1); next h1 = tanh(v3)", "no value v3", "v2"),
    ("next h1 = mul(h2, h1)", "state h2 is read and never updated", "`next h2 = ...`"),
    ("next h2 = tanh(h1)", "h2 and no h1", "without a gap"),
    ("next h0 = tanh(h0)", "no state h0", "h1, h2"),
    ("h1 = tanh(h1)", "h1 alone is the previous state", "`next h1 = ...`"),
    ("next h1 = h1", "state h1 is never updated", "leave it away"),
    ("next h1 = tanh(h1); next h1 = relu(h1)", "statement 2 .* h1 stands there twice", "statement 1"),
    ("v2 = tanh(h1); v2 = relu(h1); next h1 = v2", "statement 2 .* v2 has a value", "another name"),
    ("x = tanh(h1); next h1 = x", "x is given", "another name"),
    ("next h1 = blend(h1, h1)", "blend reads 2 values", "it needs 3"),
    ("next h1 = tanh()", "tanh reads 0 values", "it needs 1"),
    ("next h1 = linear(+)", "linear reads 0 values", "1 or more"),
    ("next h1 = tanh(linear(x, h1, +)", "not complete", "every bracket"),
    ("next h1 = ", "not complete", "every bracket"),
    ("next h1 = linear(x, h1,)", r"'\)' does not belong", "mul"),
    ("next h1 = tanh(h1))", r"'\)' does not belong", "mul"),
    ("next h1 = tanh(h1) h1", "'h1' does not belong", "mul"),
    ("next h1 = __import__('os')", "no op '__import__'", "tanh"),
    ("next h1 = tanh(h1@w1)", "'@w1' does not belong", "linear"),
    ("next h1 = linear(h1@a@b)", "'@b' does not belong", "linear"),
    ("next h1 = tanh(+, h1)", r"'\+' does not belong", "linear"),
    ("next h1 = linear(x@w%e4, h1)", "statement 1 .*: '@w%e4' is not text in UTF-8", "%C3%A4"),
    ("v2 = tanh(h1); next h1 = linear(v2, +1@%c3%)", "statement 2 .*: '@%c3%' is not text in UTF-8", "%C3%A4"),
    ("next h1 = mul(h1, m1)", "no mask m1", "`m1:H`"),
    ("m1:Q; next h1 = mul(h1, m1)", "no width Q", "D is the input's"),
    ("m1:H; m1:D; next h1 = mul(h1, m1)", "m1 stands there twice", "statement 1"),
    ("v2:D = relu(h1); next h1 = v2", "v2 is given a width", "states and masks"),
    ("next h1:D = x", "first state has width D", "width H"),
    ("next h1 = add(x, h1)", r"step v2 \(add\) reads values of two widths", "linear"),
    ("next h1 = linear(x@k, h1@k)", "step v2 uses weight 'k' on another width", "another key"),
    ("next h1 = linear(h1, +1@b, +2@b)", "step v2 starts bias 'b' at another value", "another key"),
    (f"next h1 = {'tanh(' * (MOST_STEPS + 1)}h1{')' * (MOST_STEPS + 1)}", "10001 steps", "at most 10000"),
]


@pytest.mark.parametrize(("written", "message", "hint"), WRONG_TEXTS, ids=range(len(WRONG_TEXTS)))
def test_what_is_wrong_is_told_with_its_statement(written, message, hint):
    with pytest.raises(UsageError, match=message) as raised:
        from_text(written)
    assert hint in raised.value.hint
    assert len(str(raised.value)) < 200


CELL = to_json(rnn())
LINEAR, TANH = CELL["steps"]
WRONG_JSON = [
    ([], "this JSON is no cell", "nasctl-cell"),
    ({"format": "other"}, "this JSON is no cell", "nasctl-cell"),
    ({**CELL, "version": 2}, "version 2, this nasctl reads 1", "update nasctl"),
    ({**CELL, "version": True}, "version True", "version 1"),
    ({**CELL, "version": "1"}, "version '1'", "version 1"),
    ({**CELL, "stats": []}, "field 'stats'", "did you mean states"),
    ({key: value for key, value in CELL.items() if key != "steps"}, "the cell has no steps", "next_states"),
    ({**CELL, "steps": 3}, "steps of the cell is 3", "list"),
    ({**CELL, "states": ["W"]}, "states of the cell hold 'W'", "width"),
    ({**CELL, "states": [["H"]]}, "states of the cell hold", "width"),
    ({**CELL, "steps": [LINEAR, "tanh"]}, "step v3 is 'tanh'", "op, args"),
    ({**CELL, "steps": [LINEAR, {"op": "tanhh", "args": [2]}]}, "step v3: there is no op 'tanhh'", "did you mean tanh"),
    ({**CELL, "steps": [LINEAR, {"op": 1, "args": [2]}]}, "op of step v3 is 1", "quotes"),
    ({**CELL, "steps": [LINEAR, {"op": "tanh", "args": [3]}]}, r"step v3 \(tanh\) reads value 3", "0 to 2"),
    ({**CELL, "steps": [LINEAR, {"op": "tanh", "args": [2.0]}]}, "args of step v3 hold 2.0", "numbers"),
    ({**CELL, "steps": [LINEAR, {"op": "tanh", "args": [True]}]}, "args of step v3 hold True", "numbers"),
    ({**CELL, "steps": [LINEAR, {"op": "tanh", "args": [2, 2]}]}, r"step v3 \(tanh\) reads 2 values", "it needs 1"),
    ({**CELL, "steps": [{**LINEAR, "weights": ["a"]}, TANH]}, "1 weight keys for 2 values", "one key per value"),
    ({**CELL, "steps": [{**LINEAR, "weights": ["a", 1]}, TANH]}, "weights of step v2 is 1", "quotes"),
    ({**CELL, "steps": [{**LINEAR, "biases": [{"key": "b", "start": "1"}]}, TANH]}, "a bias of step v2", "finite"),
    ({**CELL, "steps": [{**LINEAR, "biases": [{"key": "b", "start": float("nan")}]}, TANH]}, "step v2", "finite"),
    ({**CELL, "steps": [{**LINEAR, "biases": ["b"]}, TANH]}, "a bias of step v2 is 'b'", "key"),
    ({**CELL, "next_states": [1]}, "state h1 is never updated", "leave it away"),
    ({**CELL, "next_states": []}, "has 1 states and updates 0", "each state once"),
    ({**CELL, "next_states": [9]}, "state h1 becomes value 9", "0 to 3"),
]


@pytest.mark.parametrize(("value", "message", "hint"), WRONG_JSON, ids=range(len(WRONG_JSON)))
def test_what_is_wrong_in_json_is_told_with_its_step(value, message, hint):
    with pytest.raises(UsageError, match=message) as raised:
        from_json(value)
    assert hint in raised.value.hint


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(CELL)),
        ("a.txt", to_text(rnn())),
        ("a", f"\n {json.dumps(CELL)}"),
        ("a.cell", to_text(rnn())),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_holds_either_notation(tmp_path, name, content, encoding):
    path = tmp_path / name
    path.write_text(content, encoding)
    assert read_cell(path) == rnn()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "is no JSON"),
        ("a.json", b"[" * 200_000, "is no JSON"),
        ("a.json", RNN.encode(), "is no JSON"),
        ("a.json", b'{"a": 1}', "this JSON is no cell"),
        ("a.txt", b"\xff\xfe", "not text in UTF-8"),
        ("a.txt", b"the quick brown fox", "no part of a cell"),
        ("a.txt", b"#" * 1_000_001, "over 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_cell_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        read_cell(path)
    assert str(raised.value).startswith(str(path))
    assert raised.value.hint


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read") as raised:
            read_cell(path)
        assert str(path) in str(raised.value)
