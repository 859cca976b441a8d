"""Cuts, frames and rows, on numbers that can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from encoders import part
from hypothesis import given
from hypothesis import strategies as st

from nasctl.embeddings.spans import Frame, Input, batches, cut, framed, lay_out

CLS, SEP = 2, 3
ONE = Frame(((CLS,), (SEP,)), ((0,), (0,)), (0,))
TWO = Frame(((CLS,), (SEP,), (SEP,)), ((0,), (0,), (1,)), (0, 1))
PIECES = {"": (), "a": (11,), "a b": (11, 12), "a b c": (11, 12, 13), "d e": (21, 22), "long": tuple(range(31, 41))}


def laid_out(*pairs, cap=64, encode="joint", special_tokens="dropped"):
    options = {"cap": cap, "encode": encode, "special_tokens": special_tokens}
    return lay_out({"train": part(*pairs)}, PIECES, (ONE, TWO), **options)


def rows(layout, side: int) -> list[list[int]]:
    sentences = layout.sentences["train"][side]
    return [sentences.tokens[a:b].tolist() for a, b in zip(sentences.offsets, sentences.offsets[1:], strict=False)]


def ids(layout) -> list[int | None]:
    """The piece in each row; None in the padding's."""
    kept = (each.ids[begin:end] for each in layout.inputs for begin, end in each.spans)
    return [None, *(piece for span in kept for piece in span)]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_longer_sentence_is_cut_first(first, second, limit):
    one, two = cut(first, second, limit)
    assert one + two == min(first + second, limit)
    assert one <= first
    assert two <= second
    if one < first:
        assert two == second or abs(one - two) <= 1
        assert one >= two - 1
    if two < second:
        assert two >= one - 1


def test_a_pair_is_framed_and_its_spans_follow():
    assert framed(TWO, [(11, 12), (21,)], "dropped") == Input(
        (CLS, 11, 12, SEP, 21, SEP), (0, 0, 0, 0, 1, 1), ((1, 3), (4, 5))
    )
    assert framed(TWO, [(11, 12), (21,)], "kept").spans == ((0, 4), (4, 6))
    assert framed(ONE, [(11,)], "dropped").spans == ((1, 2),)
    assert framed(ONE, [(11,)], "kept").spans == ((0, 3),)


def test_rows_say_where_each_piece_lies():
    layout = laid_out(("a b c", "d e"), ("a", "a b"))
    lying = ids(layout)
    assert layout.rows == len(lying) == 1 + 3 + 5
    assert [[lying[row] for row in sentence] for sentence in rows(layout, 0)] == [[11, 12, 13], [11]]
    assert [[lying[row] for row in sentence] for sentence in rows(layout, 1)] == [[21, 22], [11, 12]]
    assert [len(each.ids) for each in layout.inputs] == [6, 8]  # the shortest first


def test_spans_are_those_of_what_was_left():
    layout = laid_out(("long", "d e"), ("a", "long"), ("long", "long"), cap=10)
    lying = ids(layout)
    assert [[lying[row] for row in sentence] for sentence in rows(layout, 0)] == [
        [31, 32, 33, 34, 35],
        [11],
        [31, 32, 33],
    ]
    assert [[lying[row] for row in sentence] for sentence in rows(layout, 1)] == [
        [21, 22],
        [31, 32, 33, 34, 35, 36],
        [31, 32, 33, 34],
    ]
    assert layout.cut == layout.pairs == 3
    assert max(len(each.ids) for each in layout.inputs) == 10


@pytest.mark.parametrize("encode", ["joint", "separate"])
def test_an_empty_sentence_is_a_single_padding(encode):
    layout = laid_out(("", "a"), ("a", ""), ("", ""), encode=encode)
    assert [rows(layout, 0)[0], rows(layout, 1)[1], rows(layout, 0)[2], rows(layout, 1)[2]] == [[0]] * 4
    assert layout.sentences["train"][0].empty.tolist() == [True, False, True]
    assert all(each.kept for each in layout.inputs)


def test_equal_inputs_are_read_once():
    joint = laid_out(("a b", "d e"), ("a b", "d e"), ("d e", "a b"))
    assert len(joint.inputs) == 2
    assert rows(joint, 0)[0] == rows(joint, 0)[1] != rows(joint, 1)[2]
    separate = laid_out(("a b", "d e"), ("a b", "d e"), ("d e", "a b"), encode="separate")
    assert len(separate.inputs) == 2
    assert rows(separate, 0)[0] == rows(separate, 1)[2]


def test_both_readings_cut_alike():
    pairs = [("long", "d e"), ("a", "long"), ("long", "long")]
    joint, separate = laid_out(*pairs, cap=10), laid_out(*pairs, cap=10, encode="separate")
    for side in (0, 1):
        lying = [[[ids(each)[row] for row in sentence] for sentence in rows(each, side)] for each in (joint, separate)]
        assert lying[0] == lying[1]


def test_batches_are_of_one_length_and_so_many_tokens_and_lose_nothing():
    inputs = [Input((CLS,) * n, (0,) * n, ((0, n),)) for n in (1, 1, 2, 2, 2, 2, 3, 5, 9, 9)]
    made = list(batches(inputs, 6))
    assert [[len(each.ids) for each in batch] for batch in made] == [[1, 1], [2, 2, 2], [2], [3], [5], [9], [9]]
    assert [each for batch in made for each in batch] == inputs
    assert list(batches([], 6)) == []


def test_tokens_are_numbers_of_rows():
    sentences = laid_out(("a b c", "d e")).sentences["train"][0]
    assert (sentences.tokens.dtype, sentences.offsets.dtype) == (np.int32, np.int64)
    assert sentences.lengths.tolist() == [3]
