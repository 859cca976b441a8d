"""The cells that torch has: all backends against torch's own modules, which read packed sequences."""

from dataclasses import replace

import pytest
import torch
from cases import ODD
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nasctl.cells.graph import Bias, CellGraph, Step
from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import canonical
from nasctl.compiler.layer import BACKENDS, RecurrentLayer
from nasctl.compiler.streams import Streams
from nasctl.compiler.torchcell import KERNELS, why_not

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
GATES = dict(zip(MODULES, (kernel.gates for kernel in KERNELS), strict=True))
FORMS = {"weight_ih_l0": "x/{}", "weight_hh_l0": "h/{}", "bias_ih_l0": "{}/1", "bias_hh_l0": "{}/2"}
LENGTHS = torch.tensor([5, 1, 3, 5, 2])
CPU = torch.device("cpu")
D, H = 3, 4

every_cell = pytest.mark.parametrize("name", MODULES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def pair(name, backend, *, bidirectional=True):
    """A layer, torch's module with the same weights, and which parameters of the one are a parameter of the other."""
    layer = RecurrentLayer(LIBRARY[name].graph, D, H, bidirectional=bidirectional, backend=backend).double()
    layer.initialise(Streams(0, "cpu"), "torch")
    module = MODULES[name](D, H, bidirectional=bidirectional, dtype=torch.float64)
    same = {}
    for suffix, side in (("", layer.onward), ("_reverse", layer.backward)):
        for theirs, form in FORMS.items() if side is not None else ():
            same[theirs + suffix] = [side[form.format(gate)] for gate in GATES[name]]
    with torch.no_grad():
        for theirs, ours in same.items():
            module.get_parameter(theirs).copy_(torch.cat(ours))
    return layer, module, same


def states_of(name, directions):
    states = tuple(normal(directions, len(LENGTHS), H) * (i + 1) for i in range(2 if name == "lstm" else 1))
    return tuple(state.requires_grad_() for state in states)


def run_module(module, x, lengths, states):
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, finals = module(packed, states if len(states) > 1 else states[0])
    return pad_packed_sequence(y, total_length=len(x))[0], finals if len(states) > 1 else (finals,)


@every_backend
@every_cell
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_equals_the_module_of_torch_with_every_gradient(name, backend, bidirectional):
    layer, module, same = pair(name, backend, bidirectional=bidirectional)
    x, states = normal(6, 5, D).requires_grad_(), states_of(name, 1 + bidirectional)
    y, finals = layer.with_states(x, LENGTHS, states)
    y_theirs, finals_theirs = run_module(module, x, LENGTHS, states)
    factors = [normal(*each.shape) for each in (y, *finals)]

    def gradients(values, parameters):
        loss = sum((value * factor).sum() for value, factor in zip(values, factors, strict=True))
        return torch.autograd.grad(loss, [x, *states, *parameters])

    mine = gradients((y, *finals), [each for group in same.values() for each in group])
    theirs = gradients((y_theirs, *finals_theirs), [module.get_parameter(key) for key in same])
    others = [part for each in theirs[1 + len(states) :] for part in each.chunk(len(GATES[name]))]
    compared = [
        *zip((y, *finals), (y_theirs, *finals_theirs), strict=True),
        *zip(mine, (*theirs[: 1 + len(states)], *others), strict=True),
    ]
    for ours, other in compared:
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-12)


@every_backend
@every_cell
def test_without_states_it_equals_the_module_too(name, backend):
    layer, module, _ = pair(name, backend)
    x = normal(6, 5, D)
    y, _ = pad_packed_sequence(module(pack_padded_sequence(x, LENGTHS, enforce_sorted=False))[0], total_length=6)
    torch.testing.assert_close(layer(x, LENGTHS), y, rtol=0, atol=1e-12)


@every_backend
@every_cell
def test_a_sequence_in_two_segments_equals_the_module_over_the_whole(name, backend):
    layer, module, _ = pair(name, backend, bidirectional=False)
    x, states = normal(6, 5, D), states_of(name, 1)
    y_whole, finals_whole = run_module(module, x, LENGTHS, states)
    cut = 2
    first, between = layer.with_states(x[:cut], LENGTHS.clamp(max=cut), states)
    second, finals = layer.with_states(x[cut:], (LENGTHS - cut).clamp(min=0), between)
    torch.testing.assert_close(torch.cat([first, second]), y_whole, rtol=0, atol=1e-12)
    for ours, theirs in zip(finals, finals_whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    # gradients flow from the second segment into the first
    (flowing,) = torch.autograd.grad(second.sum(), [states[0]])
    (whole,) = torch.autograd.grad(y_whole[cut:].sum(), [states[0]])
    torch.testing.assert_close(flowing, whole, rtol=0, atol=1e-12)


@every_cell
def test_a_cell_is_recognised_however_it_is_spelled(name):
    graph = LIBRARY[name].graph
    renamed = replace(
        graph,
        steps=tuple(
            Step(
                step.op,
                step.args,
                tuple(f"my {key}" for key in step.weights),
                tuple(Bias(f"my {bias.key}", bias.start) for bias in step.biases),
            )
            for step in graph.steps
        ),
    )
    for other in (renamed, canonical(graph)):
        layer = RecurrentLayer(other, D, H, backend="torch").double()
        assert layer.served_by(CPU) == "torch"
        layer.initialise(Streams(1, "cpu"), "torch")
        y = layer(normal(6, 5, D), LENGTHS)
        layer.backend = "reference"
        torch.testing.assert_close(y, layer(normal(6, 5, D), LENGTHS), rtol=0, atol=1e-12)


def test_what_it_cannot_serve_it_says():
    assert "LSTM, GRU and the tanh RNN only" in why_not(ODD, CPU, torch.float32)
    assert "bf16" in why_not(LIBRARY["lstm"].graph, CPU, torch.bfloat16)
    gru = LIBRARY["gru"].graph
    wrong = CellGraph(gru.states, (*gru.steps[:-1], replace(gru.steps[-1], args=(7, 10, 1))), gru.next_states)
    assert why_not(wrong, CPU, torch.float32) is not None
    assert why_not(gru, CPU, torch.float32) is None
