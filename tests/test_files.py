"""Files that are whole or not there, and errors that say which file it was."""

import resource

import pytest

from nasctl.files import atomically, write_atomically


@pytest.fixture
def full():
    """A disk with room for a thousand bytes in a file; what is beyond fails as on a full one, without a name."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("length", [2_000, 2_000_000])  # met when the stream is flushed, and while it is written
def test_a_full_disk_is_an_error_of_that_file(tmp_path, length):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError) as raised:
        write_atomically(path, b"x" * length)
    assert raised.value.filename == str(path)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]


def test_a_folder_that_is_in_the_way_is_an_error_of_that_name(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_atomically(path, "x")
    assert raised.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_else_goes_wrong_while_it_is_written_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, atomically(tmp_path / "copy") as stream:
        stream.write((tmp_path / "original").read_bytes())
    assert raised.value.filename == str(tmp_path / "original")
    assert list(tmp_path.iterdir()) == []
