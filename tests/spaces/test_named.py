"""What a word of a command line means: a cell of the library, a code, or a file."""

import pytest

from nasctl.cells.library import LIBRARY
from nasctl.cells.text import from_text
from nasctl.errors import UsageError
from nasctl.spaces.named import cell_called, cell_of_word

TEXT = "next h1 = tanh(linear(x, h1, +))"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("word", ["lstm", "enas-24", "24", "tanh", "tanh-0-relu"])
def test_a_file_hides_no_name_and_no_code(folder, word):
    (folder / word).write_text(TEXT)
    assert cell_of_word(word) == cell_called(word)
    assert cell_of_word(f"./{word}").graph == from_text(TEXT)


@pytest.mark.parametrize("word", ["relu-mine.txt", "tanh-0-relu.json", "tanh-0/mine", "27", "mine"])
def test_what_is_no_name_and_no_code_is_a_file(folder, word):
    (folder / word).parent.mkdir(exist_ok=True)
    (folder / word).write_text(TEXT if not word.endswith("json") else "{}")
    if word.endswith("json"):
        with pytest.raises(UsageError, match="this JSON is no cell"):
            cell_of_word(word)
    else:
        assert cell_of_word(word).graph == from_text(TEXT)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tanh-0-rel", "there is no 'rel'"),
        ("relu-mine", "there is no 'mine'"),
        ("relu-0-Tanh", "there is no 'Tanh'"),
        ("tanh-", "there is no ''"),
        ("mine", "there is no cell 'mine' in the library"),
        ("27", "there is no cell '27' in the library"),
        ("relu-mine.txt", "relu-mine.txt cannot be read"),
    ],
)
def test_a_word_that_is_nothing_is_told_as_what_it_looks_like(word, message):
    with pytest.raises(UsageError, match=message):
        cell_of_word(word)


def test_a_number_is_a_row_of_the_paper():
    assert cell_of_word("07").name == "enas-7"
    assert cell_of_word("7").graph == LIBRARY["enas-7"].graph
