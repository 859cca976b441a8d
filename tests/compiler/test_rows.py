import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.compiler.rows import rows
from nasctl.compiler.turning import turn, turned

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=7)


def of(lengths, directions=2):
    return rows(torch.tensor(lengths), directions, torch.device("cpu"))


def test_three_sequences_by_hand():
    order = of([1, 3, 2])
    assert order.sizes == (3, 2, 1)
    assert order.order.tolist() == [1, 2, 0]
    # places are t·3 + b: step 0 holds b = 1, 2, 0, step 1 holds b = 1, 2, step 2 holds b = 1
    assert order.tokens.tolist() == [[1, 2, 0, 4, 5, 7], [7, 5, 0, 4, 2, 1]]
    assert order.before.tolist() == [0, 1, 2, 3, 4, 6]  # three initial states, then the tokens
    assert order.last.tolist() == [3 + 2, 3 + 5, 3 + 4]
    assert order.sequence.tolist() == [0, 1, 2, 0, 1, 0]
    assert (order.rows, order.count, order.even) == (3, 6, False)


@settings(max_examples=60)
@given(LENGTHS)
def test_each_token_stands_once_and_each_sequence_in_its_order(lengths):
    order, count = of(lengths), len(lengths)
    real = sorted(t * count + b for b, length in enumerate(lengths) for t in range(length))
    assert order.count == sum(lengths) == sum(order.sizes)
    assert list(order.sizes) == sorted(order.sizes, reverse=True)
    for side in (0, 1):
        places = order.tokens[side].tolist()
        assert sorted(places) == real
        for b, length in enumerate(lengths):
            steps = [place // count for place in places if place % count == b]
            assert steps == (list(range(length)) if side == 0 else list(range(length))[::-1])
    assert sorted(order.order.tolist()) == list(range(count))
    assert order.even == (len(set(lengths)) == 1)


@settings(max_examples=60)
@given(LENGTHS)
def test_the_state_before_a_token_is_that_behind_the_one_before(lengths):
    order, count = of(lengths), len(lengths)
    sequence = [order.order[place].item() for place in order.sequence]
    seen = {b: rank for rank, b in enumerate(order.order.tolist())}  # the initial state
    for token, b in enumerate(sequence):
        assert order.before[token].item() == seen[b]
        seen[b] = count + token
    assert order.last.tolist() == [seen[b] for b in range(count)]


def test_equal_lengths_keep_the_order_they_come_in():
    assert of([2, 3, 2, 3, 2]).order.tolist() == [1, 3, 0, 2, 4]


def test_a_direction_alone():
    order = of([1, 3, 2])
    assert [order.direction(side).tokens.tolist() for side in (0, 1)] == [[row] for row in order.tokens.tolist()]


def test_no_token_at_all():
    order = of([0, 0])
    assert (order.count, order.sizes, order.last.tolist()) == (0, (), [0, 1])


@settings(max_examples=30)
@given(LENGTHS, st.integers(0, 2))
def test_turning_reverses_each_row_within_its_length_and_is_its_own_inverse(lengths, padding):
    steps = max(lengths) + padding
    x = torch.arange(steps * len(lengths) * 2.0).view(steps, len(lengths), 2)
    order = turn(torch.tensor(lengths), steps)
    back = turned(x, order)
    assert torch.equal(turned(back, order), x)
    for b, length in enumerate(lengths):
        assert torch.equal(back[:length, b], x[:length, b].flip(0))
        assert torch.equal(back[length:, b], x[length:, b])
