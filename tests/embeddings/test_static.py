import gzip
from dataclasses import replace

import numpy as np
import pytest
from tiny import corpus, sentences

from nasctl.data.corpus import Corpus, Split
from nasctl.embeddings import static, vectors
from nasctl.errors import UsageError
from nasctl.sources import StaticSpec

GLOVE = StaticSpec("glove", "glove", "words.txt", None, trainable=False, oov="zeros", case="auto", window=None)


def words_corpus(*words: str) -> Corpus:
    side = sentences([list(range(1, len(words) + 1))])
    split = Split("train", side, side, np.zeros(1, np.float32), ("0",))
    return Corpus("digest", "regression", (), "pearson", ("", *words), {"train": split})


def prepared(tmp_path, text: str, *words: str, **changes: object):
    (tmp_path / "words.txt").write_text(text, encoding="utf-8")
    return static.prepare(replace(GLOVE, **changes), words_corpus(*words), tmp_path, tmp_path / "cache")


def test_a_file_in_glove_format(tmp_path):
    found = prepared(tmp_path, "the 1 2\ncat 3.5 -4e-1\nthe 9 9\n", "cat", "the", "dog")
    np.testing.assert_allclose(found.matrix, [[0, 0], [3.5, -0.4], [1, 2], [0, 0]])  # the first "the" counts
    assert found.oov_share == pytest.approx(1 / 3)
    assert found.source == "words.txt"


def test_case(tmp_path):
    text = "the 1 1\nParis 2 2\nparis 3 3\n"
    assert prepared(tmp_path, text, "The", "Paris").matrix[1:, 0].tolist() == [1, 2]
    assert prepared(tmp_path, text, "The", "Paris", case="cased").matrix[1:, 0].tolist() == [0, 2]
    assert prepared(tmp_path, text, "The", "Paris", case="lower").matrix[1:, 0].tolist() == [1, 3]


def test_words_with_spaces_and_a_word2vec_header(tmp_path):
    found = prepared(tmp_path, "3 2\n. . . 1.5 2.5\nat name@domain.com 0.5 0.25\ncat 3.0 4.0\n", "cat", ". . .")
    assert found.matrix[1:].tolist() == [[3, 4], [1.5, 2.5]]


@pytest.mark.parametrize(
    ("text", "width", "message"),
    [
        ("the 1 2\ncat 3\n", None, r"words\.txt:2: 1 numbers where 2 are due"),
        ("the 1 2\ncat 3.0 4.0 5.0\n", None, r"words\.txt:2: 3 numbers where 2 are due"),
        ("the 1 2\ncat 3 x\n", None, r"words\.txt:2: not numbers"),
        ("the 1 2\ncat nan 1\n", None, r"words\.txt:2: a number that is not finite"),
        ("the 1 2\n", 300, r"words\.txt:1: vectors of width 2, asked for 300"),
        ("the\n", None, r"words\.txt:1: no vector"),
        ("dog 1 2\n", None, r"has a vector for none of the data set's 2 words"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, width, message):
    with pytest.raises(UsageError, match=message):
        prepared(tmp_path, text, "cat", "the", width=width)


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    (tmp_path / "glove.6B.txt").write_text("a 1\n")
    with pytest.raises(UsageError, match=r"no file glove\.6b\.txt") as caught:
        prepared(tmp_path, "cat 1\n", "cat", file="glove.6b.txt")
    assert "glove.6B.txt" in caught.value.hint
    with pytest.raises(UsageError, match="needs a file"):
        prepared(tmp_path, "cat 1\n", "cat", file=None)


def test_gaussian_vectors_of_unknown_words_belong_to_the_word(tmp_path):
    text = "a 1 2\nb -1 0\nc 0 3\n"
    one = prepared(tmp_path, text, "a", "b", "c", "zzz", oov="gaussian").matrix
    two = prepared(tmp_path, text, "zzz", "a", "b", "c", oov="gaussian").matrix
    assert one[4].tolist() == two[1].tolist() != [0, 0]
    assert (one[0] == 0).all()


def test_prepared_once_and_named_by_content(tmp_path, monkeypatch):
    first = prepared(tmp_path, "cat 1 2\n", "cat")
    monkeypatch.setattr(static, "read_glove", None)  # a second reading would fail
    again = static.prepare(GLOVE, words_corpus("cat"), tmp_path, tmp_path / "cache")
    assert again.digest == first.digest
    monkeypatch.undo()
    assert prepared(tmp_path, "cat 1 3\n", "cat").digest != first.digest
    vectors.vectors_path(tmp_path / "cache", first.digest).write_bytes(b"broken")
    assert prepared(tmp_path, "cat 1 2\n", "cat").matrix[1].tolist() == [1, 2]  # built again


def test_svd_puts_words_of_like_company_together(tmp_path):
    """cat and dog share their neighbours, as do red and blue; the two groups never meet."""
    from random import Random

    vocabulary = ("", "cat", "dog", "eats", "fish", "red", "blue", "paint", "wall")
    draw = Random(0)
    rows = [[draw.choice([1, 2]), 3, 4] if draw.random() < 0.5 else [draw.choice([5, 6]), 7, 8] for _ in range(200)]
    side = sentences(rows)
    splits = {"train": Split("train", side, side, np.zeros(200, np.float32), tuple(map(str, range(200))))}
    spec = StaticSpec("svd", "svd", None, 3, trainable=False, oov="zeros", case="lower", window=2)
    found = static.prepare(spec, Corpus("d", "regression", (), "pearson", vocabulary, splits), None, tmp_path)
    unit = found.matrix[1:] / np.linalg.norm(found.matrix[1:], axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.9
    assert unit[4] @ unit[5] > 0.9
    assert abs(unit[0] @ unit[4]) < 0.1
    assert (found.matrix[0] == 0).all()
    assert found.oov_share == 0.0


def test_svd_is_the_same_every_time_and_knows_training_words_only(tmp_path):
    data = corpus()
    spec = StaticSpec("svd", "svd", None, 4, trainable=False, oov="zeros", case="lower", window=2)
    one = static.prepare(spec, data, None, tmp_path / "a")
    two = static.prepare(spec, data, None, tmp_path / "b")
    assert one.digest == two.digest
    assert one.matrix.shape == (len(data.vocabulary), 4)
    with pytest.raises(UsageError, match="too few words"):
        static.prepare(StaticSpec("svd", "svd", None, 400, False, "zeros", "lower", 2), data, None, tmp_path)


def test_a_byte_order_mark_belongs_to_no_word(tmp_path):
    found = prepared(tmp_path, "\ufeffthe 1 2\ncat 3 4\n", "cat", "the")
    assert found.matrix[1:].tolist() == [[3, 4], [1, 2]]
    header = prepared(tmp_path, "\ufeff2 2\nthe 1 2\ncat 3 4\n", "the")
    assert header.matrix[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "line"), [("cat 1 2\ncafé 1 2\n".encode("latin1"), 2), (gzip.compress(b"cat 1 2\n", mtime=0), 1)]
)
def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path, content, line):
    (tmp_path / "vectors.txt").write_bytes(content)
    with pytest.raises(UsageError, match=rf"vectors\.txt:{line}: not UTF-8 text") as caught:
        prepared(tmp_path, "", "cat", file="vectors.txt")
    assert "unpacked" in caught.value.hint


def test_what_an_earlier_reading_made_is_made_again(tmp_path, monkeypatch):
    first = prepared(tmp_path, "cat 1 2\n", "cat")
    monkeypatch.setattr(static, "READING", static.READING + 1)
    monkeypatch.setattr(static, "read_glove", lambda *_: iter([("cat", np.array([5, 6], np.float32))]))
    again = static.prepare(GLOVE, words_corpus("cat"), tmp_path, tmp_path / "cache")
    assert again.matrix[1].tolist() == [5, 6]
    assert again.digest != first.digest


def test_equal_vectors_of_two_files_keep_the_name_of_their_own(tmp_path):
    (tmp_path / "all.txt").write_text("cat 1 2\nzebra 3 4\n")
    (tmp_path / "some.txt").write_text("cat 1 2\ndog 0 0\n")
    one, two, again = (prepared(tmp_path, "", "cat", "dog", file=name) for name in ("all.txt", "some.txt", "all.txt"))
    assert one.digest == two.digest == again.digest
    assert (one.source, two.source, again.source) == ("all.txt", "some.txt", "all.txt")
    assert (one.oov_share, two.oov_share, again.oov_share) == (0.5, 0.0, 0.5)


SVD = StaticSpec("svd", "svd", None, 4, trainable=False, oov="zeros", case="lower", window=2)


def test_gaussian_vectors_of_words_that_training_does_not_have(tmp_path):
    """Word 9 stands in dev alone."""
    vocabulary = ("", *(f"w{number}" for number in range(1, 10)))
    draw = np.random.default_rng(0)
    side, other = sentences(draw.integers(1, 9, (100, 6)).tolist()), sentences([[9, 1]])
    splits = {
        "train": Split("train", side, side, np.zeros(100, np.float32), tuple(map(str, range(100)))),
        "dev": Split("dev", other, other, np.zeros(1, np.float32), ("0",)),
    }
    data = Corpus("d", "regression", (), "pearson", vocabulary, splits)
    zeros = static.prepare(SVD, data, None, tmp_path).matrix
    found = static.prepare(replace(SVD, oov="gaussian"), data, None, tmp_path)
    assert not zeros[9].any()
    assert np.array_equal(found.matrix[:9], zeros[:9])
    assert 0.1 < np.abs(found.matrix[9]).max() / np.std(zeros[1:9]) < 4
    assert 0 < found.oov_share < 0.1


@pytest.mark.parametrize(
    ("spec", "changes", "reader"),
    [
        (SVD, {"file": "words.txt"}, "glove"),
        (SVD, {"case": "cased"}, "glove"),
        (GLOVE, {"window": 5}, "svd"),
    ],
)
def test_what_a_source_does_not_read_is_refused(tmp_path, spec, changes, reader):
    ((field, value),) = changes.items()
    told = f"embedding.{field}={value} means nothing for embedding.source={spec.source}"
    with pytest.raises(UsageError, match=told) as caught:
        static.prepare(replace(spec, **changes), corpus(), tmp_path, tmp_path / "cache")
    assert f"embedding.source={reader} reads it" in caught.value.hint
