"""Invented files in the formats and of the sizes of the published ones."""

from __future__ import annotations

from pathlib import Path

WORDS = ("a", "man", "woman", "dog", "child", "is", "not", "running", "near", "the", "old", "red", "ball", "in", "rain")


def sentence(number: int) -> str:
    """One of some hundred thousand short sentences."""
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 5, 7)) + f" {number}."


def write_sick(folder: Path, *, header: bool = False, train: int = 4500, test: int = 4927) -> None:
    """SICK_train.txt and SICK_test_annotated.txt."""
    names = {"SICK_train.txt": (train, 1), "SICK_test_annotated.txt": (test, 20_000)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, start) in names.items():
        lines = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"] * header
        for row in range(start, start + rows):
            score = 1 + row % 41 / 10
            lines.append(f"{row}\t{sentence(row)}\t{sentence(row + 7)}\t{score:g}\tNEUTRAL")
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_mrpc(folder: Path, *, line_end: str = "\n") -> None:
    """The two files of pairs, with byte order mark and header, and GLUE's dev ids."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, start, rows in (("msr_paraphrase_train.txt", 0, 4076), ("msr_paraphrase_test.txt", 5000, 1725)):
        lines = ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [
            f'{int(row % 5 > 1)}\t{row}\t{row + 9000}\t"{sentence(row)}\t{sentence(row)} "'
            for row in range(start, start + rows)
        ]
        (folder / name).write_text(line_end.join(lines) + line_end, encoding="utf-8", newline="")
    ids = [f"{row}\t{row + 9000}" for row in range(5, 5 + 408 * 9, 9)]
    (folder / "dev_ids.tsv").write_text("\n".join(ids) + "\n", encoding="utf-8")


def write_stsb(folder: Path) -> None:
    """The three files; some rows have nine fields, some sentences a quote mark at one end only."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in {"train": 5749, "dev": 1500, "test": 1379}.items():
        lines = []
        for row in range(rows):
            fields = ["main-news", f"made-up-{split}", "2016", f"{row:04d}", f"{row % 26 / 5:.3f}"]
            fields += [f'"{sentence(row)}', sentence(row + 3)]
            lines.append("\t".join(fields + ["licence", "licence"] * (row % 29 == 0)))
        (folder / f"sts-{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_all(root: Path) -> Path:
    """A whole folder of data sets."""
    write_sick(root / "sick")
    write_mrpc(root / "mrpc")
    write_stsb(root / "stsb")
    return root
