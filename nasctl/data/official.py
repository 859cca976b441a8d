"""MRPC, STS-B and SICK-R in their original formats, with the counts of their published splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nasctl.data.pairs import Pair, Part
from nasctl.data.published import PUBLISHED, Published
from nasctl.data.sources import find, read_lines
from nasctl.data.splits import share, split_rows
from nasctl.errors import UsageError

__all__ = ["read_mrpc", "read_sick", "read_stsb"]

SICK_DEV_FRACTION, SICK_SPLIT_SEED = 0.1, 0
"""MacLaughlin et al. 2020, footnote 10."""

WRONG_FILE = "not the published file; `nasctl data check {0}` compares it, `nasctl data fetch {0}` brings another"
"""A hint; its place is the name of the data set."""


def read_mrpc(folder: Path) -> dict[str, Part]:
    """Microsoft's paraphrase corpus, split as GLUE splits it: 3668 / 408 / 1725, classes "0" and "1".

    GLUE's dev set are the rows of the train file whose two sentence ids stand in dev_ids.tsv.
    """
    mrpc = PUBLISHED["mrpc"]
    dev_ids = {f"{first}-{second}" for _, (first, second) in _rows(folder, mrpc, "dev_ids.tsv", (2,))}
    train = _part(folder, mrpc, "msr_paraphrase_train.txt", (5,), _mrpc_pair)
    is_dev = [pair.id in dev_ids for pair in train.pairs]
    if sum(is_dev) != len(dev_ids):
        message = f"{folder / 'dev_ids.tsv'}: of its {len(dev_ids)} pairs, {sum(is_dev)} are in {train.origin}"
        raise UsageError(message, WRONG_FILE.format("mrpc"))
    return {
        "train": train.rows([row for row, held_out in enumerate(is_dev) if not held_out]),
        "dev": train.rows([row for row, held_out in enumerate(is_dev) if held_out]),
        "test": _part(folder, mrpc, "msr_paraphrase_test.txt", (5,), _mrpc_pair),
    }


def read_stsb(folder: Path) -> dict[str, Part]:
    """The STS benchmark: 5749 / 1500 / 1379, scores 0 to 5. A few hundred rows carry two more fields, on licences."""
    stsb = PUBLISHED["stsb"]
    return {split: _part(folder, stsb, f"sts-{split}.csv", (7, 9), _stsb_pair) for split in ("train", "dev", "test")}


def read_sick(folder: Path) -> dict[str, Part]:
    """SICK's relatedness, scores 1 to 5: the 4500 training pairs split 4050 / 450, and the 4927 test pairs.

    The trial file is unused. The files may have their header line or not.
    """
    sick = PUBLISHED["sick"]
    train = _part(folder, sick, "SICK_train.txt", (5,), _sick_pair)
    stays, out = split_rows(len(train.pairs), share(len(train.pairs), SICK_DEV_FRACTION), SICK_SPLIT_SEED)
    test = _part(folder, sick, "SICK_test_annotated.txt", (5,), _sick_pair)
    return {"train": train.rows(stays), "dev": train.rows(out), "test": test}


def _mrpc_pair(fields: list[str]) -> Pair:
    quality, first_id, second_id, first, second = fields
    return Pair(f"{first_id}-{second_id}", first, second, quality)


def _stsb_pair(fields: list[str]) -> Pair:
    genre, file, year, number, score, first, second = fields[:7]
    return Pair(f"{genre}/{file}/{year}/{number}", first, second, score)


def _sick_pair(fields: list[str]) -> Pair:
    number, first, second, relatedness, _ = fields
    return Pair(number, first, second, relatedness)


def _part(
    folder: Path, published: Published, name: str, widths: tuple[int, ...], pair_of: Callable[[list[str]], Pair]
) -> Part:
    rows = list(_rows(folder, published, name, widths))
    pairs = tuple(pair_of(fields) for _, fields in rows)
    return Part(pairs, str(folder / name), tuple(line for line, _ in rows))


def _rows(folder: Path, published: Published, name: str, widths: tuple[int, ...]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row with its line: split at tabs and nowhere else, since sentences begin with quote marks."""
    path, file, found = find(folder, name), published.file(name), 0
    wrong = WRONG_FILE.format(published.folder)
    for line, text in read_lines(path):
        fields = text.split("\t")
        if line == 1 and file.header and fields[0] == file.header:
            continue
        if len(fields) not in widths:
            wanted = " or ".join(map(str, widths))
            raise UsageError(f"{path}, line {line}: {len(fields)} fields, expected {wanted}", wrong)
        found += 1
        yield line, fields
    if found != file.rows:
        raise UsageError(f"{path} has {found} rows, expected {file.rows}", wrong)
