"""A cell in a folder for projects without nasctl: it needs torch alone, and computes what nasctl computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from exports import layer_of, load
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nasctl.cells.graph import Bias, CellGraph, Op, Step
from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.text import from_text, read_cell
from nasctl.compiler.export.folder import FILES, Trained, module_name, write_folder
from nasctl.compiler.export.source import LINE, WRITTEN, class_name, exported, source
from nasctl.compiler.layer import RecurrentLayer
from nasctl.errors import UsageError

EXACT = 1e-12
GATES = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "rnn": ("candidate",),
}
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

EVERY_OP = CellGraph(
    ("H", "H", "D"),
    (
        Step(Op.LINEAR, (0, 1, 3), ("a", "b", "c"), (Bias("d", 0.5), Bias("e"), Bias("f"), Bias("g", -1.0))),  # 5
        Step(Op.LEAKY_RELU, (5,)),
        Step(Op.SUB, (6, 2)),
        Step(Op.MUL, (7, 4, 6)),  # 8: with a mask
        Step(Op.MEAN, (6, 7, 8)),
        Step(Op.LINEAR, (9,), ("b",)),  # 10: shared with step 5
        Step(Op.SIGMOID, (10,)),
        Step(Op.BLEND, (11, 9, 2)),
        Step(Op.LINEAR, (12,), ("h",)),
        Step(Op.RELU, (13,)),
        Step(Op.IDENTITY, (14,)),
        Step(Op.ADD, (15, 9, 12)),
        Step(Op.TANH, (16,)),
        Step(Op.TANH, (8,)),  # 18: dead
    ),
    (17, 9, 0),
    ("H",),
)
CELLS = {"lstm": LIBRARY["lstm"].graph, "enas-17": LIBRARY["enas-17"].graph, "every-op": EVERY_OP}


def of_layer(layer: RecurrentLayer, graph: CellGraph) -> Trained:
    keys = {*graph.weights, *graph.biases}
    weights = {n: p.detach().clone() for n, p in layer.named_parameters() if n.partition(".")[2] in keys}
    return Trained(weights, 3, 5, bidirectional=layer.backward is not None)


def made(folder: Path, name: str, graph: CellGraph):
    """The exported class of a cell."""
    write_folder(folder, name, graph)
    return getattr(load(folder), class_name(name, exported(graph)))


# --- it computes what nasctl and torch compute ------------------------------------------------------------------------

ALONE = """
import importlib.util, sys
from pathlib import Path
sys.modules |= {"nasctl": None, "safetensors": None}
import torch
for folder in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location("cell", folder / "cell.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (made,) = (each for each in vars(module).values() if isinstance(each, type) and each.__module__ == "cell")
    rnn = made.from_folder(folder)
    case, _ = module.read_safetensors(folder / "case.safetensors")
    x = case["x"].requires_grad_()
    output, h_n = rnn(x, lengths=case["lengths"].long())
    output.backward(case["upstream"])
    states = h_n if isinstance(h_n, tuple) else (h_n,)
    found = {"output": output, "grad x": x.grad} | {f"state {n}": state for n, state in enumerate(states)}
    found |= {f"grad {name}": parameter.grad for name, parameter in rnn.named_parameters()}
    assert found.keys() == case.keys() - {"x", "lengths", "upstream"}, found.keys() ^ case.keys()
    print(max((found[name] - case[name]).abs().max().item() for name in found))
"""


def test_it_runs_without_nasctl_and_equals_the_reference(tmp_path):
    for name, graph in CELLS.items():
        layer, alive = layer_of(graph), exported(graph)
        write_folder(tmp_path / name, name, graph, trained=of_layer(layer, alive))
        x, lengths = torch.randn(6, 4, 3, dtype=torch.float64, requires_grad=True), torch.tensor([6, 1, 0, 4])
        masks = [torch.ones(4, 5, dtype=torch.float64) for _ in graph.masks]
        upstream = torch.randn(6, 4, 10, dtype=torch.float64)
        output, finals = layer.with_states(x, lengths, masks=masks)
        output.backward(upstream)
        case = {"x": x, "lengths": lengths.double(), "upstream": upstream, "output": output, "grad x": x.grad}
        case |= {f"state {n}": state for n, state in enumerate(finals)}
        case |= {f"grad {n}": p.grad for n, p in layer.named_parameters() if p.grad is not None}
        tensors = {key: tensor.detach().contiguous() for key, tensor in case.items()}
        safetensors.torch.save_file(tensors, tmp_path / name / "case.safetensors")
    command = [sys.executable, "-I", "-c", ALONE, *(str(tmp_path / name) for name in CELLS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    differences = [float(line) for line in result.stdout.split()]
    assert len(differences) == len(CELLS)
    assert max(differences) <= EXACT


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_called_as_torch_nn_is(tmp_path, name, bidirectional, batch_first):
    options = {"batch_first": batch_first, "bidirectional": bidirectional, "dtype": torch.float64}
    ours = made(tmp_path / "it", name, LIBRARY[name].graph)(3, 5, **options)
    theirs = TORCH[name](3, 5, **options)
    with torch.no_grad():
        for direction, ending in (("onward", ""), ("backward", "_reverse"))[: 1 + bidirectional]:
            for number, gate in enumerate(GATES[name]):
                rows = slice(5 * number, 5 * number + 5)
                for key, other in (
                    (f"x/{gate}", "weight_ih"),
                    (f"h/{gate}", "weight_hh"),
                    (f"{gate}/1", "bias_ih"),
                    (f"{gate}/2", "bias_hh"),
                ):
                    ours.get_submodule(direction)[key].copy_(getattr(theirs, f"{other}_l0{ending}")[rows])

    def state():
        h = torch.randn(1 + bidirectional, 4, 5, dtype=torch.float64)
        return (h, torch.randn_like(h)) if name == "lstm" else h

    lengths, hx = torch.tensor([3, 6, 1, 6]), state()
    x = torch.randn(*((4, 6) if batch_first else (6, 4)), 3, dtype=torch.float64)
    one = x[0] if batch_first else x[:, 0]
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    for arguments in ((x,), (x, hx), (one,), (packed,), (packed, hx)):
        (y, ends), (expected, expected_ends) = ours(*arguments), theirs(*arguments)
        if arguments[0] is packed:
            assert torch.equal(y.sorted_indices, expected.sorted_indices)
            assert torch.equal(y.batch_sizes, expected.batch_sizes)
            y, expected = y.data, expected.data
        torch.testing.assert_close((y, ends), (expected, expected_ends), rtol=0, atol=EXACT)
        assert type(ends) is type(expected_ends)
    padded, _ = pad_packed_sequence(theirs(packed, hx)[0], batch_first=batch_first)
    y, ends = ours(x, hx, lengths=lengths.tolist())
    torch.testing.assert_close(y, padded, rtol=0, atol=EXACT)
    torch.testing.assert_close(ends, theirs(packed, hx)[1], rtol=0, atol=EXACT)


def test_padding_never_counts_and_two_halves_are_the_whole(tmp_path):
    rnn = made(tmp_path / "it", "enas-1", LIBRARY["enas-1"].graph)(3, 5, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    poisoned = x.clone()
    poisoned[4:, 1] = torch.nan
    y, h_n = rnn(poisoned, lengths=[6, 4])
    assert (y[4:, 1] == 0).all()
    rnn.onward["h-0/gate"].grad = None
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in rnn.parameters())
    _, half = rnn(x[:2])
    rest, end = rnn(x[2:], half)
    torch.testing.assert_close(rest[:, 0], y[2:, 0], rtol=0, atol=EXACT)
    torch.testing.assert_close(end[:, 0], h_n[:, 0], rtol=0, atol=EXACT)


def test_mistakes_in_a_call_are_named(tmp_path):
    rnn = made(tmp_path / "it", "lstm", LIBRARY["lstm"].graph)(3, 5)
    x = torch.zeros(6, 2, 3)
    with pytest.raises(ValueError, match="input is 4 wide, and input_size is 3"):
        rnn(torch.zeros(6, 2, 4))
    with pytest.raises(ValueError, match=r"\(1, 2, 5\), \(1, 2, 5\)\] are needed"):
        rnn(x, torch.zeros(1, 2, 5))
    with pytest.raises(ValueError, match=r"\(3,\) lengths for 2 rows"):
        rnn(x, lengths=[6, 6, 6])
    with pytest.raises(ValueError, match="leave `lengths` away"):
        rnn(pack_padded_sequence(x, torch.tensor([6, 6])), lengths=[6, 6])


def test_fresh_weights_follow_the_rule_of_nasctl(tmp_path):
    rnn = made(tmp_path / "it", "lstm", LIBRARY["lstm"].graph)(3, 5, dtype=torch.float64)
    recurrent = rnn.onward["h/forget"]
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(5, dtype=torch.float64))
    assert rnn.onward["forget/1"].unique().tolist() == [1.0]
    assert rnn.onward["forget/2"].unique().tolist() == [0.0]
    assert rnn.onward["x/forget"].abs().max() <= (6 / 8) ** 0.5


# --- the source -------------------------------------------------------------------------------------------------------


def test_every_op_is_written():
    assert set(WRITTEN) == set(Op)


@pytest.mark.parametrize("name", ["lstm", "gru", "enas-24", "every-op"])
def test_the_file_is_clean(tmp_path, name):
    graph = exported(LIBRARY[name].graph if name in LIBRARY else EVERY_OP)
    path = tmp_path / "cell.py"
    path.write_text(source(name, graph, "a test"), encoding="utf-8")
    ruff = [str(Path(sys.executable).parent / "ruff"), "check", "--isolated", "--no-cache", f"--line-length={LINE}"]
    rules = "--select=A,B,C4,D,E,F,I,N,PL,PT,RET,RUF,SIM,UP,W", "--ignore=A002,D105,D107,D203,D205,D213,PLR0913,PLR2004"
    result = subprocess.run([*ruff, *rules, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("enas-24", "Enas24"),
        ("lstm", "Lstm"),
        ("my_cell.v2", "MyCellV2"),
        ("2fast", None),
        ("tänh", None),
        ("x" * 60, None),
        ("", None),
        ("none", None),
        ("true", None),
        ("mapping", None),
        ("PackedSequence", None),
        ("module", "Module"),
        ("one", "One"),
    ],
)
def test_the_class_is_called_like_the_cell_if_python_can(name, expected):
    graph = LIBRARY["gru"].graph
    assert class_name(name, graph) == (expected or f"Cell{cell_digest(graph)}")


def test_the_class_hides_no_name_of_the_file_nor_of_python(tmp_path):
    graph = LIBRARY["gru"].graph
    for name in ("tensor", "valueError"):
        rnn = made(tmp_path / name, name, graph)(3, 5)
        assert rnn(torch.zeros(2, 1, 3), torch.zeros(1, 1, 5))[1].shape == (1, 1, 5)
        with pytest.raises(ValueError, match=r"\(2,\) lengths for 1 rows"):
            rnn(torch.zeros(2, 1, 3), lengths=[2, 2])
    names = {name for name in vars(load(tmp_path / "tensor")) if name[:1].isupper()}
    assert names >= {"Tensor", "Iterable", "STATES", "DTYPES"}
    assert {class_name(name, graph) for name in names} == {class_name("", graph)}


def test_names_are_data_and_never_code(tmp_path):
    keys = ('"""\nimport os', "a.b", "items", "\\", "${x}")
    steps = (
        Step(Op.LINEAR, (0, 1), keys[:2], (Bias(keys[2]), Bias(keys[3]))),
        Step(Op.LINEAR, (2,), (keys[4],)),
    )
    graph = CellGraph(("H",), steps, (3,))
    rnn = made(tmp_path / "it", 'a"""\nraise SystemExit  # $x', graph)(3, 5)
    assert rnn(torch.zeros(2, 1, 3))[0].shape == (2, 1, 5)
    quoted = CellGraph(("H",), (Step(Op.LINEAR, (0, 1), ('"""\nx = "', "\\")),), (2,))
    assert made(tmp_path / "quoted", "quoted", quoted)(3, 5)(torch.zeros(2, 1, 3))[0].shape == (2, 1, 5)


@pytest.mark.parametrize("key", ["training", "_parameters"])
def test_a_key_that_a_module_uses_itself_gives_way(tmp_path, key):
    graph = CellGraph(("H",), (Step(Op.LINEAR, (0, 1), (key, "h")),), (2,))
    rnn = made(tmp_path / "it", "it", graph)(3, 5).eval()
    assert rnn(torch.zeros(2, 1, 3))[0].shape == (2, 1, 5)


def test_a_mask_that_does_more_than_multiply_is_refused():
    graph = CellGraph(("H",), (Step(Op.LINEAR, (0, 1), ("a", "b")), Step(Op.ADD, (3, 2))), (4,), ("H",))
    with pytest.raises(UsageError, match=r"step v4 \(add\) of the cell reads a mask"):
        exported(graph)
    carried = from_text("m1:H; m2:H; next h1 = tanh(linear(x, mul(h1, m1), h2)); next h2 = m2")
    with pytest.raises(UsageError, match=r"state h2 of the cell becomes a mask"):
        exported(carried)


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_cell_and_its_use(tmp_path):
    graph = LIBRARY["enas-24"].graph
    written = write_folder(tmp_path / "my rnn", "enas-24", graph, origin="a table")
    assert [path.name for path in written] == ["cell.json", "cell.py", "README.md"]
    assert read_cell(tmp_path / "my rnn" / "cell.json") == graph
    readme = (tmp_path / "my rnn" / "README.md").read_text("utf-8")
    assert (
        "from my_rnn.cell import Enas24\nlayer = Enas24(300, 300, bidirectional=True)\noutput, h_n = layer(x" in readme
    )
    assert "a table" in readme
    assert "$" not in readme


def test_the_documented_lines_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_folder(tmp_path / "an_export", "gru", LIBRARY["gru"].graph)
    lines = (tmp_path / "an_export" / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    names = {"x": torch.zeros(4, 2, 300), "lengths": [4, 3]}
    exec(lines, names)
    assert (names["output"].shape, names["h_n"].shape) == ((4, 2, 600), (2, 2, 300))


def test_what_is_there_is_kept_unless_forced(tmp_path):
    folder, graph = tmp_path / "it", LIBRARY["gru"].graph
    layer = layer_of(graph)
    write_folder(folder, "gru", graph, trained=of_layer(layer, graph))
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="it is not empty"):
        write_folder(folder, "rnn", LIBRARY["rnn"].graph)
    assert "class Gru(" in (folder / "cell.py").read_text("utf-8")
    write_folder(folder, "rnn", LIBRARY["rnn"].graph, force=True)
    assert {path.name for path in folder.iterdir()} == {"cell.json", "cell.py", "README.md", "mine.txt"}
    assert set(FILES) >= {"cell.json", "cell.py", "README.md", "weights.safetensors", "cell.onnx"}
    with pytest.raises(UsageError, match=r"mine\.txt is a file"):
        write_folder(folder / "mine.txt", "rnn", LIBRARY["rnn"].graph)


@pytest.mark.parametrize(
    ("folder", "name"), [("My Rnn", "my_rnn"), ("24", "cell_24"), ("class", "cell_class"), ("", "cell")]
)
def test_a_folder_is_named_as_python_imports_it(folder, name):
    assert module_name(folder) == name


def test_the_notes_of_the_weights_are_text(tmp_path):
    graph = LIBRARY["gru"].graph
    write_folder(tmp_path / "it", "gru", graph, trained=of_layer(layer_of(graph, bidirectional=False), graph))
    content = (tmp_path / "it" / "weights.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {
        "input_size": "3",
        "hidden_size": "5",
        "bidirectional": "false",
        "cell": cell_digest(graph),
    }
