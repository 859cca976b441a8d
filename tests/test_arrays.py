"""Array files: whole or not at all, and every changed byte is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nasctl.arrays import Blocks, read_arrays, write_arrays
from nasctl.errors import MachineError
from nasctl.files import remove_leftovers


def blocks(*sizes: int) -> list[np.ndarray]:
    ends = np.cumsum([0, *sizes])
    return [np.arange(3 * a, 3 * b, dtype=np.float16).reshape(-1, 3) for a, b in itertools.pairwise(ends)]


def test_blocks_make_the_file_that_their_whole_makes(tmp_path):
    whole = np.concatenate(blocks(4, 1, 2))
    small = np.arange(5, dtype=np.int32)
    write_arrays(tmp_path / "whole", {"a": 1}, {"small": small, "large": whole})
    made = Blocks(whole.dtype, whole.shape, iter(blocks(4, 1, 2)))
    write_arrays(tmp_path / "blocks", {"a": 1}, {"small": small, "large": made})
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "blocks").read_bytes()
    meta, arrays = read_arrays(tmp_path / "blocks")
    assert meta == {"a": 1}
    assert np.array_equal(arrays["large"], whole)
    assert (tmp_path / "blocks").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", [blocks(4, 1), blocks(4, 4), [*blocks(4), np.zeros((3, 2), np.float16)]])
def test_blocks_of_another_shape_leave_no_file(tmp_path, given):
    with pytest.raises(ValueError, match="large"):
        write_arrays(tmp_path / "file", {}, {"large": Blocks(np.dtype(np.float16), (7, 3), given)})
    assert not list(tmp_path.iterdir())


def test_an_error_while_blocks_are_made_leaves_no_file(tmp_path):
    def failing():
        yield from blocks(4)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_arrays(tmp_path / "file", {}, {"large": Blocks(np.dtype(np.float16), (7, 3), failing())})
    assert not list(tmp_path.iterdir())


def test_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "file"
    write_arrays(path, {"digits": 12345}, {"x": np.arange(40, dtype=np.int16)})
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(MachineError):
            read_arrays(path)
    for length in (0, 7, 16, 40, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(MachineError):
            read_arrays(path)


def test_what_killed_writers_left_is_removed(tmp_path):
    for name in (".file.ab12", ".file.cd34", ".file2.ab12", "file"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file2.ab12", "file"]
