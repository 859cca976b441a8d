"""`nasctl cell`: which cells there are, what one is, its drawing, its export, and what it costs."""

from __future__ import annotations

import importlib.util
import json
import os

import pytest

from nasctl.cells.library import LIBRARY
from nasctl.cells.text import from_json, from_text, to_json, to_text
from nasctl.cli import bench as module
from nasctl.cli.onnx import PACKAGES


@pytest.fixture(autouse=True)
def one_thread():
    """What a command sets for its process is taken back."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_list_has_the_whole_library_and_marks_equal_cells(nasctl):
    lines = nasctl("cell", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(LIBRARY)
    entries = {each["name"]: each for each in map(json.loads, nasctl("cell", "list", "--json").stdout.splitlines())}
    assert entries["enas-10"]["equals"] == ["enas-8", "enas-11"]
    assert sum(bool(each["equals"]) for each in entries.values()) == 3
    assert len({each["digest"] for name, each in entries.items() if name.startswith("enas-")}) == 24
    assert (entries["enas-1"]["parameters"], entries["lstm"]["parameters"]) == (1_260_600, 722_400)
    assert (entries["enas-1"]["nodes"], entries["lstm"]["nodes"]) == (6, None)


def test_list_counts_for_the_widths_that_are_asked_for(nasctl):
    entries = map(json.loads, nasctl("cell", "list", "--json", "--width", "2", "--hidden", "5").stdout.splitlines())
    assert {each["name"]: each["parameters"] for each in entries}["rnn"] == 5 * 2 + 5 * 5 + 2 * 5


def test_show_tells_what_a_cell_is_and_costs(nasctl):
    shown = nasctl("cell", "show", "enas-17").stdout
    assert "1,260,600, 1.75 x an LSTM's" in shown
    assert "5 levels of products, 5 products in all" in shown
    assert "7.20 million operations per token, 2.00 x an LSTM's" in shown
    told = json.loads(nasctl("cell", "show", "10", "--format", "json").stdout)
    assert (told["name"], told["equals"]) == ("enas-10", ["enas-8", "enas-11"])
    assert from_json(told["cell"]) == from_text(told["text"]) == LIBRARY["enas-10"].graph


def test_show_reads_names_codes_and_files(nasctl, tmp_path):
    graph = LIBRARY["gru"].graph
    (tmp_path / "mine.json").write_text(json.dumps(to_json(graph)))
    (tmp_path / "mine.txt").write_text(to_text(graph))
    for word in ("gru", "mine.json", "./mine.txt"):
        assert nasctl("cell", "show", word, "--format", "line").stdout == f"{to_text(graph)}\n"
    told = json.loads(nasctl("cell", "show", "tanh-0-relu-1-sigmoid", "--format", "json").stdout)
    assert (told["code"], told["source"]) == ("tanh-0-relu-1-sigmoid", "a code of the space enas")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("enas-27", "there is no cell 'enas-27' in the library; did you mean enas-"),
        ("tanh-0-rel", "there is no 'rel'; did you mean relu?"),
        ("tanh-1-relu", "there is no '1'"),
        ("gone.json", "gone.json cannot be read"),
        ("folder/gone", "folder/gone cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["show", "draw", "bench"])
def test_a_cell_that_is_none_costs_one_line(nasctl, command, word, message):
    result = nasctl("cell", command, word)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_draw_writes_text_and_pictures(nasctl, tmp_path, monkeypatch):
    text = nasctl("cell", "draw", "enas-24").stdout
    assert text.startswith(("---\ntitle:", "flowchart"))
    result = nasctl("cell", "draw", "enas-24", "--out", "it.mmd")
    assert (result.stdout, (tmp_path / "it.mmd").read_text("utf-8")) == ("it.mmd\n", text)
    drawn = []
    monkeypatch.setattr("nasctl.cells.draw.to_picture", lambda graph, *how: drawn.append(how) or b"picture")
    assert nasctl("cell", "draw", "gru", "--out", "it.png").exit_code == 0
    assert (tmp_path / "it.png").read_bytes() == b"picture"
    assert nasctl("cell", "draw", "gru", "--format", "svg").stdout == "picture"
    assert drawn == [("png", "gru"), ("svg", "gru")]


def test_draw_keeps_what_is_there_unless_forced(nasctl, tmp_path):
    (tmp_path / "it.mmd").write_text("mine")
    result = nasctl("cell", "draw", "gru", "--out", "it.mmd")
    assert (result.exit_code, "--force replaces it" in result.stderr) == (2, True)
    assert (tmp_path / "it.mmd").read_text() == "mine"
    assert nasctl("cell", "draw", "gru", "--out", "it.mmd", "--force").exit_code == 0
    assert (tmp_path / "it.mmd").read_text() != "mine"


def test_draw_needs_to_know_the_format(nasctl):
    result = nasctl("cell", "draw", "gru", "--out", "it.bmp")
    assert (result.exit_code, ".svg, .png, .mmd" in result.stderr) == (2, True)
    assert nasctl("cell", "draw", "gru", "--format", "png").exit_code == 2


def test_export_writes_a_folder_once(nasctl, tmp_path):
    result = nasctl("cell", "export", "enas-24", "--out", "it")
    assert result.stdout.split() == ["it/cell.json", "it/cell.py", "it/README.md"]
    assert "class Enas24(" in (tmp_path / "it" / "cell.py").read_text("utf-8")
    again = nasctl("cell", "export", "gru", "--out", "it")
    assert (again.exit_code, "--force replaces" in again.stderr) == (2, True)
    assert nasctl("cell", "export", "gru", "--out", "it", "--force").exit_code == 0
    assert nasctl("cell", "export", "gru", "--out", "new", "--weights", "gone.safetensors").exit_code == 2
    assert not (tmp_path / "new").exists()


def test_onnx_says_what_it_needs_before_it_writes_anything(nasctl, tmp_path, monkeypatch):
    monkeypatch.setattr("nasctl.cli.onnx.PACKAGES", ("onnx_of_nowhere",))
    result = nasctl("cell", "export", "gru", "--out", "it", "--onnx")
    assert result.exit_code == 4
    assert "pip install 'nasctl[export]'" in result.stderr
    assert not (tmp_path / "it").exists()
    assert nasctl("cell", "export", "gru", "--out", "it", "--onnx", "--steps", "65").exit_code == 2


ONNX_IS_HERE = all(importlib.util.find_spec(name) for name in PACKAGES)


def test_the_library_of_onnx_reports_to_nobody(nasctl, monkeypatch):
    monkeypatch.setattr("nasctl.cli.onnx.PACKAGES", ())
    monkeypatch.setattr("nasctl.cli.onnx._imported", lambda path: pytest.fail(os.environ["ORT_DISABLE_TELEMETRY"]))
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    with pytest.raises(pytest.fail.Exception, match=r"^1$"):
        nasctl("cell", "export", "gru", "--out", "it", "--onnx")


@pytest.mark.services  # for its seconds
@pytest.mark.skipif(not ONNX_IS_HERE and os.environ.get("CI") != "true", reason="pip install 'nasctl[export]'")
def test_onnx_is_within_tolerance_of_torch(nasctl, tmp_path, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")  # set by the command; taken back here
    options = ("--onnx", "--steps", "6", "--width", "3", "--hidden", "5")
    result = nasctl("cell", "export", "lstm", "--out", "it", *options)
    assert result.exit_code == 0, result.stderr
    assert "it/cell.onnx" in result.stdout
    assert "cell.onnx is within" in result.stderr
    monkeypatch.setattr("nasctl.cli.onnx.TOLERANCE", -1.0)
    failed = nasctl("cell", "export", "lstm", "--out", "it", "--force", *options)
    assert failed.exit_code == 4
    assert not (tmp_path / "it" / "cell.onnx").exists()


def test_onnx_names_what_cell_py_gives_and_no_dead_state(nasctl, tmp_path, monkeypatch):
    (tmp_path / "dead.txt").write_text("next h1 = tanh(linear(x, h1, +)); next h2 = tanh(linear(h1, h2))")
    monkeypatch.setattr("nasctl.cli.onnx.PACKAGES", ())
    monkeypatch.setattr("torch.onnx.export", lambda *_, output_names, **__: pytest.fail(" ".join(output_names)))
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")  # set by the command; taken back here
    with pytest.raises(pytest.fail.Exception, match=r"^output h_n$"):
        nasctl("cell", "export", "dead.txt", "--out", "it", "--onnx")


# --- bench ------------------------------------------------------------------------------------------------------------

QUICK = ("--shape", "4,3,2", "--rows", "2", "--repeats", "2")


def test_bench_times_every_cell_on_every_backend(nasctl):
    result = nasctl("cell", "bench", "enas-1", "gru", *QUICK, "--json")
    told = json.loads(result.stdout)
    assert (told["machine"]["rows"], told["machine"]["threads"], told["machine"]["ragged"]) == (2, 1, False)
    (shape,) = told["shapes"]
    assert shape["lstm_seconds"] > 0
    found = {each["backend"]: each for each in shape["variants"]}
    assert {name: len(each["ratios"]) for name, each in found.items()} == {"planned": 2, "reference": 1, "torch": 2}
    assert [each["cell"] for each in found["planned"]["cells"]] == ["enas-1", "gru"]
    assert [each["cell"] for each in found["torch"]["cells"]] == ["gru"]
    assert "torch fp32 leaves out 1 of 2 cells: torch has kernels for LSTM, GRU and the tanh RNN only" in result.stderr
    assert "pass 2 of 2, shape 4,3,2" in result.stderr


def test_bench_rounds_no_lstm_to_tf32(nasctl, monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert nasctl("cell", "bench", "gru", *QUICK, "--backend", "planned").exit_code == 0
    assert not torch.backends.cudnn.allow_tf32


def test_bench_refuses_two_cells_of_one_name(nasctl, tmp_path):
    for folder, name in (("a", "gru"), ("b", "rnn")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text(to_text(LIBRARY[name].graph))
    result = nasctl("cell", "bench", "a/mine.txt", "b/mine.txt", *QUICK)
    assert result.exit_code == 2
    assert "there are two cells called mine; rename a file" in result.stderr
    assert nasctl("cell", "bench", "a/mine.txt", "./a/mine.txt", *QUICK, "--backend", "planned").exit_code == 0


def test_bench_runs_a_cell_under_any_keys(nasctl, tmp_path):
    (tmp_path / "mine.txt").write_text("next h1 = tanh(linear(x@keys, h1@w.1, +@))")
    result = nasctl("cell", "bench", "mine.txt", *QUICK, "--json")
    assert result.exit_code == 0
    (shape,) = json.loads(result.stdout)["shapes"]
    assert [each["backend"] for each in shape["variants"]] == ["planned", "reference"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("m1:H; next h1 = tanh(linear(x, mul(h1, m1), +))", "mine: the cell reads a mask; no model gives it one"),
        ("next h1 = tanh(h1)", "mine: the cell has no weights; their gradients are what is timed"),
        ("v2 = linear(x); next h1 = tanh(h1)", "mine: the cell has no weights"),
    ],
)
def test_bench_refuses_a_cell_that_it_cannot_time(nasctl, tmp_path, cell, message):
    (tmp_path / "mine.txt").write_text(cell)
    result = nasctl("cell", "bench", "gru", "mine.txt", *QUICK)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_bench_prints_a_line_per_variant(nasctl):
    options = ("--backend", "planned", "--precision", "fp32,bf16", "--ragged")
    lines = nasctl("cell", "bench", "gru", *QUICK, *options).stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["4,3,2", "planned", "fp32"], ["4,3,2", "planned", "bf16"]]


def test_medians_are_over_passes_then_cells(monkeypatch):
    from nasctl.compiler.timing import Bench, Shape, Timing, Variant

    shape, fast, slow = Shape(300, 300, 22), Variant("planned", "fp32"), Variant("reference", "fp32")
    names = ("enas-1", "enas-2", "gru")
    cells = {name: LIBRARY[name].graph for name in names}
    setting = Bench(cells, (shape,), (fast, slow), rows=64, repeats=3, ragged=False, device="cpu")
    seconds = {"enas-1": (2.0, 3.0, 9.0), "enas-2": (4.0, 2.2, 2.1), "gru": (1.0, 1.5, 1.0)}
    found = [Timing(n, shape, name, fast, 2 * each, 2.0) for name in names for n, each in enumerate(seconds[name])]
    found += [Timing(0, shape, name, slow, 5.0, 2.0) for name in names]
    told = module._told(setting, shape, found)
    planned, reference = told["variants"]
    assert told["lstm_seconds"] == 2.0
    assert [each["ratio"] for each in planned["cells"]] == [3.0, 2.2, 1.0]
    assert planned["ratio"] == 2.2
    assert planned["ratios"] == [2.0, 2.2, 2.1]
    assert planned["spread"] == pytest.approx(0.2)
    assert planned["limit"] == pytest.approx(2.0)
    assert planned["over_limit"] == pytest.approx(1.1)
    assert planned["slower_than_reference"] == ["enas-1"]
    assert reference["slower_than_reference"] == []
    assert "300,300,22  planned    fp32       4.4" in "".join(module._table([told])).replace("4400.0", "4.4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shape", "300,150"), "--shape 300,150 is none; input width, hidden width and steps"),
        (("--shape", "300,0,22"), "--shape 300,0,22 is none"),
        (("--backend", "planed"), "there is no backend 'planed'; did you mean planned?"),
        (("--precision", "fp16"), "there is no precision 'fp16'; did you mean bf16?"),
        (
            ("--backend", "torch"),
            "none of these cells runs on any of these backends; --backend planned runs every cell",
        ),
    ],
)
def test_a_mistake_in_bench_costs_one_line(nasctl, options, message):
    result = nasctl("cell", "bench", "enas-1", *options)
    assert result.exit_code == 2
    assert message in result.stderr
