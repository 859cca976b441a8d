"""A trained layer out of a checkpoint: the right weights on the right matrices, or an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from exports import layer_of, load
from torch import nn

from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import canonical, equal
from nasctl.cells.spelling import cell_of, spelled
from nasctl.cells.text import from_text
from nasctl.compiler.export.folder import write_folder
from nasctl.compiler.export.trained import trained_layer
from nasctl.compiler.layer import RecurrentLayer
from nasctl.compiler.streams import Streams
from nasctl.errors import UsageError
from nasctl.models import MODELS
from nasctl.spaces import space_named
from nasctl.spaces.sharing import shared_weights, sharing

EXACT = 1e-12
ORDER = [name for row in MODELS.values() for name in row.recurrent]


def checkpoint(path: Path, *codes: str, before: str = "", **layers: RecurrentLayer) -> Path:
    """Named as a run names its weights: the layers stand in the model's body. With `codes` it says what cells are."""
    tensors = {"body.head.weight": torch.zeros(2)}
    for name, layer in layers.items():
        tensors |= {f"{before}body.{name}.{key}": value for key, value in layer.state_dict().items()}
    cells = {"cells": json.dumps([{"code": code} for code in codes])} if codes else {}
    safetensors.torch.save_file(tensors, path, {"digest": "d", **cells})
    return path


CROSSED = "c = tanh(linear(x, h1, +)); z = sigmoid(linear(x, h1, +)); next h1 = blend(z, h1, c)"
"""Its keys in the order of the text are called as those of its canonical form are, and mean others."""


@pytest.mark.parametrize("codes", [(), (spelled(from_text(CROSSED)),)], ids=["no note", "note"])
def test_weights_go_to_the_matrices_that_they_were_trained_in(tmp_path, codes):
    graph = from_text(CROSSED)
    assert set(canonical(graph).weights) == set(graph.weights)
    ours = layer_of(cell_of(spelled(graph)))
    path = checkpoint(tmp_path / "best.safetensors", *codes, recurrent=ours)
    found, trained = trained_layer(path, "1", graph, ORDER)
    write_folder(tmp_path / "it", "own", found, trained=trained)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    expected = ours(x, torch.tensor([6, 2]))
    torch.testing.assert_close(load(tmp_path / "it").Own.from_folder()(x, lengths=[6, 2])[0], expected)


def test_the_cell_that_a_run_trained_is_the_only_one_that_is_exported_with_its_weights(tmp_path):
    first, second = "lstm", spelled(LIBRARY["enas-1"].graph)
    layers = {"encode": layer_of(cell_of(first)), "compose": layer_of(cell_of(second))}
    path = checkpoint(tmp_path / "best.safetensors", first, second, **layers)
    assert equal(trained_layer(path, "encode", LIBRARY["lstm"].graph, ORDER)[0], LIBRARY["lstm"].graph)
    assert equal(trained_layer(path, "2", LIBRARY["enas-1"].graph, ORDER)[0], LIBRARY["enas-1"].graph)
    with pytest.raises(UsageError, match="layer compose is of another cell") as error:
        trained_layer(path, "2", LIBRARY["enas-24"].graph, ORDER)
    assert error.value.hint == "it is of enas-1"
    with pytest.raises(UsageError, match="layer encode is of another cell") as error:
        trained_layer(path, "1", LIBRARY["gru"].graph, ORDER)
    assert error.value.hint == "it is of lstm"


def test_a_cell_takes_its_own_of_the_weights_that_a_search_shared(tmp_path):
    space = space_named("enas", nodes=6)
    held = shared_weights(sharing(space))
    graph = LIBRARY["enas-24"].graph
    ours = RecurrentLayer(graph, 3, 5, shared=held).double()
    ours.initialise(Streams(1, "cpu"), "torch")
    path = checkpoint(tmp_path / "best.safetensors", before="child/", recurrent=ours)
    found, trained = trained_layer(path, "1", graph, ORDER)
    assert set(found.weights) == set(graph.weights)
    assert {name.partition(".")[2] for name in trained.weights} == {*graph.weights, *graph.biases}
    alone = checkpoint(tmp_path / "alone.safetensors", recurrent=ours)
    with pytest.raises(UsageError, match="is of another cell"):
        trained_layer(alone, "1", graph, ORDER)


@pytest.mark.parametrize("note", ["{", "[1]", '[{"name": "lstm"}]'])
def test_a_note_that_is_none_is_named(tmp_path, note):
    path = checkpoint(tmp_path / "best.safetensors", recurrent=layer_of(LIBRARY["lstm"].graph))
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"cells": note})
    with pytest.raises(UsageError, match="no readable safetensors file"):
        trained_layer(path, "1", LIBRARY["lstm"].graph, ORDER)


@pytest.mark.parametrize("keyed", [canonical, lambda graph: graph], ids=["canonical keys", "own keys"])
def test_a_layer_of_a_checkpoint_is_exported_with_its_weights(tmp_path, keyed):
    graph = LIBRARY["enas-3"].graph
    ours, other = layer_of(keyed(graph)), layer_of(LIBRARY["lstm"].graph)
    path = checkpoint(tmp_path / "best.safetensors", encode=other, compose=ours)
    for layer in ("2", "compose"):
        found, trained = trained_layer(path, layer, graph, ORDER)
        assert equal(found, graph)
        assert (trained.input_width, trained.hidden, trained.bidirectional) == (3, 5, True)
    write_folder(tmp_path / "it", "enas-3", found, trained=trained)
    rnn = load(tmp_path / "it").Enas3.from_folder(batch_first=True)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    expected = ours(x.transpose(0, 1), torch.tensor([6, 2])).transpose(0, 1)
    torch.testing.assert_close(rnn(x, lengths=[6, 2])[0], expected, rtol=0, atol=EXACT)
    assert "layer = Enas3.from_folder()" in (tmp_path / "it" / "README.md").read_text("utf-8")


def test_a_wrong_checkpoint_is_named(tmp_path):
    lstm, gru = LIBRARY["lstm"].graph, LIBRARY["gru"].graph
    path = checkpoint(tmp_path / "best.safetensors", recurrent=layer_of(lstm, bidirectional=False))
    assert not trained_layer(path, "1", lstm, ORDER)[1].bidirectional
    with pytest.raises(UsageError, match="layer recurrent is of another cell"):
        trained_layer(path, "1", LIBRARY["enas-1"].graph, ORDER)
    with pytest.raises(UsageError, match="has no layer 'encode'") as error:
        trained_layer(path, "encode", lstm, ORDER)
    assert "recurrent" in error.value.hint
    with pytest.raises(UsageError, match="has no recurrent layer"):
        trained_layer(checkpoint(tmp_path / "none.safetensors"), "1", lstm, ORDER)
    with pytest.raises(UsageError, match="no readable safetensors file"):
        trained_layer(tmp_path / "gone.safetensors", "1", gru, ORDER)
    wide = layer_of(gru)
    wide.onward["x/update"] = nn.Parameter(torch.zeros(5, 4, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"onward.x/update is \(5, 4\), and not \(5, 3\)"):
        trained_layer(checkpoint(tmp_path / "wide.safetensors", recurrent=wide), "1", gru, ORDER)
