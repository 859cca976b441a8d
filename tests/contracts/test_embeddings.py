"""What every embedding must do."""

import numpy as np
import pytest
from tiny import corpus

from nasctl.embeddings import static, vectors
from nasctl.embeddings.vectors import matrix_digest
from nasctl.sources import StaticSpec

FILE = "w1 0.5 1.5 2.5\nW2 1.0 1.0 1.0\nw3 -1.0 0.0 2.0\n"

EMBEDDINGS = {
    "glove": StaticSpec("glove", "glove", "words.txt", 3, False, "zeros", "auto", None),
    "glove, gaussian": StaticSpec("glove", "glove", "words.txt", None, False, "gaussian", "lower", None),
    "svd": StaticSpec("svd", "svd", None, 5, False, "zeros", "lower", 3),
}


@pytest.fixture(params=EMBEDDINGS)
def case(request, tmp_path):
    (tmp_path / "words.txt").write_text(FILE)
    data = corpus()
    return data, EMBEDDINGS[request.param], tmp_path


def test_one_finite_row_per_word_and_none_for_the_padding(case):
    data, spec, folder = case
    found = static.prepare(spec, data, folder, folder / "cache")
    assert found.matrix.shape[0] == len(data.vocabulary)
    assert spec.width in {None, found.matrix.shape[1]}
    assert found.matrix.dtype == np.float32
    assert np.isfinite(found.matrix).all()
    assert (found.matrix[0] == 0).all()
    assert np.abs(found.matrix).sum() > 0
    assert 0 <= found.oov_share < 1


def test_named_by_its_content_and_the_same_every_time(case):
    data, spec, folder = case
    one = static.prepare(spec, data, folder, folder / "one")
    two = static.prepare(spec, data, folder, folder / "two")
    assert one.digest == two.digest == matrix_digest(one.matrix)


def test_a_worker_finds_it_in_the_cache(case):
    data, spec, folder = case
    made = static.prepare(spec, data, folder, folder / "cache")
    found = vectors.load(folder / "cache", made.digest)
    assert np.array_equal(found.matrix, made.matrix)
    assert (found.oov_share, found.source) == (made.oov_share, made.source)
    with pytest.raises((ValueError, RuntimeError)):
        found.matrix[0, 0] = 1.0  # mapped read-only


def test_the_second_time_it_is_read_back(case):
    data, spec, folder = case
    static.prepare(spec, data, folder, folder / "cache")
    before = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*") if path.is_file()}
    static.prepare(spec, data, folder, folder / "cache")
    assert {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*") if path.is_file()} == before
