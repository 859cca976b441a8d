from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasctl.cells.draw import to_mermaid
from nasctl.cells.library import rnn
from nasctl.reports.render import FORMATS, MISSING, comma_separated, duration, latex, markdown, terminal
from nasctl.reports.table import Cell, Column, Drawing, Table

COLUMNS = (
    Column("name", key="study"),
    Column("n", "count"),
    Column("test", "score"),
    Column("gain", "difference"),
    Column("rate", "real"),
    Column("95 %", "interval"),
    Column("time", "seconds"),
)
FULL: tuple[Cell, ...] = ("sick_1", 12345, 84.5678, 1.25, 0.000123456, (83.04, 85.96), 4000.0)
EMPTY: tuple[Cell, ...] = (None,) * 7
TABLE = Table("my table", "Scores & more", COLUMNS, (FULL, EMPTY), ("100 % of it.", "A | B"))


def test_markdown() -> None:
    assert markdown(TABLE) == (
        "### Scores &amp; more\n"
        "\n"
        "| name   |      n | test |  gain |      rate |         95 % |   time |\n"
        "| ------ | -----: | ---: | ----: | --------: | -----------: | -----: |\n"
        "| sick_1 | 12,345 | 84.6 | +1.25 | 0.0001235 | 83.0 to 86.0 | 67 min |\n"
        "| D      |      D |    D |     D |         D |            D |      D |\n".replace("D", MISSING)
        + "\n"
        "- 100 % of it.\n"
        "- A \\| B\n"
    )


def test_latex() -> None:
    assert latex(TABLE) == (
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Scores \\& more}\n"
        "\\label{tab:my-table}\n"
        "\\begin{tabular}{lrrrrrr}\n"
        "\\toprule\n"
        "name & n & test & gain & rate & 95 \\% & time \\\\\n"
        "\\midrule\n"
        "sick\\_1 & 12,345 & 84.6 & +1.25 & 0.0001235 & 83.0 to 86.0 & 67 min \\\\\n"
        "-- & -- & -- & -- & -- & -- & -- \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\n"
        "\\smallskip\n"
        "{\\footnotesize 100 \\% of it.\\par}\n"
        "\n"
        "\\smallskip\n"
        "{\\footnotesize A \\textbar{} B\\par}\n"
        "\\end{table}\n"
    )


def test_csv() -> None:
    assert comma_separated(TABLE) == (
        "study,n,test,gain,rate,95 % low,95 % high,time\n"
        "sick_1,12345,84.5678,1.25,0.000123456,83.04,85.96,4000.0\n"
        ",,,,,,,\n"
    )


def test_the_formats_have_endings() -> None:
    assert {name: each.ending for name, each in FORMATS.items()} == {"markdown": ".md", "latex": ".tex", "csv": ".csv"}


def test_a_cell_is_drawn_or_written_out() -> None:
    caption = "``` the cell of a_study"
    table = Table("t", "t", (Column("a"),), (("x",),), ("A note.",), (Drawing("cell-1", caption, rnn()),))
    assert markdown(table).endswith(f"- A note.\n\n```mermaid\n{to_mermaid(rnn(), caption)}```\n")
    assert [line for line in markdown(table).splitlines() if line.startswith("```")] == ["```mermaid", "```"]
    assert terminal(table).endswith(f"- A note.\n\n{caption}:\n    next h1 = tanh(linear(x, h1, +, +))\n")
    assert r"the cell of a\_study: next h1 = tanh(linear(x, h1, +, +))\par}" in latex(table)
    assert comma_separated(table) == "a\nx\n"
    plain = Table("t", "t", (Column("a"),), (("x",),))
    assert terminal(plain) == markdown(plain)


def test_at_a_terminal_a_table_is_narrower() -> None:
    code = "tanh-0-relu-1-sigmoid-0-tanh"
    columns = (Column("study"), Column("data", key="data set"), Column("cell"), Column("test", "score"))
    rows = (("a-long-name-of-a-study", "sick", "lstm", 80.0), ("b", "sick", code, 81.0), ("c", "sick", code, None))
    assert terminal(Table("t", "All", columns, rows, ("A note.",))) == (
        "### All\n"
        "\n"
        "| study                  | cell | test |\n"
        "| ---------------------- | ---- | ---: |\n"
        "| a-long-name-of-a-study | lstm | 80.0 |\n"
        "| b                      | #1   | 81.0 |\n"
        f"| c                      | #1   |    {MISSING} |\n"
        "\n"
        "- In all rows: data set sick.\n"
        f"- #1 {code}\n"
        "- A note.\n"
    )
    assert code in markdown(Table("t", "All", columns, rows))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1"])
def test_no_cell_is_a_formula(text: str) -> None:
    (cell,) = list(csv.reader(io.StringIO(comma_separated(Table("t", "t", (Column("a"),), ((text,),))), newline="")))[1]
    assert cell == "'" + text


def test_control_characters_are_spaces_everywhere() -> None:
    table = Table("t", "t", (Column("a"),), (("x\r\n\ty\x00",),))
    for render in (markdown, latex, comma_separated):
        assert "x y " in render(table)
    assert comma_separated(Table("t", "t", (Column("a"),), (("\t=1",),))) == "a\n' =1\n"


@pytest.mark.parametrize("text", ["[1]", "*"])
def test_no_cell_is_taken_for_the_argument_of_a_line_break(text: str) -> None:
    row = latex(Table("t", "t", (Column("a"),), ((text,), (text,)))).split("\\midrule\n")[1]
    assert row.startswith("{" + text[0] + "}")


def test_a_negative_number_is_no_formula() -> None:
    table = Table("t", "t", (Column("a", "difference"),), ((-1.5,), (float("nan"),)))
    assert comma_separated(table) == 'a\n-1.5\n""\n'
    assert markdown(table).splitlines()[-2:] == ["| -1.50 |", f"|     {MISSING} |"]


@settings(max_examples=40)
@given(st.lists(st.text(max_size=12), min_size=2, max_size=2))
def test_no_text_breaks_out_of_its_cell(texts: list[str]) -> None:
    table = Table("t", texts[0], (Column("a"), Column(texts[1])), ((texts[0], texts[1]),), (texts[1],))
    lines = markdown(table).split("\n")
    assert len(lines) == 8
    for line in lines[2:5]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
        assert "<" not in line
    body = latex(table)
    row = body.split("\\midrule\n")[1].split("\n")[0]
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert not re.search(r"(?<!\\)[%#_$^~]", row.removesuffix(" \\\\"))
    parsed = list(csv.reader(io.StringIO(comma_separated(table), newline="")))
    assert [len(each) for each in parsed] == [2, 2]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (42.4, "42 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (720.0, "12 min"),
        (5_900.0, "98 min"),
        (5_990.0, "1.7 h"),
        (36_000.0, "10.0 h"),
        (400_000.0, "4.6 d"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("row", "said"), [((1, 2), "2 cells in a row of 1 columns"), ((1,), "1 is no text"), ((2.5,), "2.5 is no text")]
)
def test_a_row_that_does_not_fit_is_refused(row: tuple[Cell, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Table("t", "t", (Column("a"),), (row,))


def test_a_code_that_all_rows_have_is_told_once() -> None:
    code = "tanh-0-relu-1-sigmoid-2-identity"
    table = Table("t", "t", (Column("cell"), Column("n", "count")), ((code, 1), (code, 2)))
    assert terminal(table).count(code) == 1
    assert "#1" not in terminal(table)


def test_no_bound_seems_to_be_zero_from_below() -> None:
    columns = (Column("a", "score"), Column("b", "interval"), Column("c", "range"))
    table = Table("t", "t", columns, ((-0.01, (-0.04, 0.04), (0.04, 0.9)),))
    assert markdown(table).splitlines()[-1] == "| 0.0 | 0.0 to 0.0 | 0.04 to 0.90 |"


@pytest.mark.parametrize(
    ("text", "told"),
    [("random_ws", "random_ws"), ("_x_", r"\_x\_"), ("__x__ a_", r"\_\_x\_\_ a\_"), ("~~x~~", r"\~\~x\~\~")],
)
def test_no_emphasis_comes_of_a_name(text: str, told: str) -> None:
    assert f"| {told} |" in markdown(Table("t", "t", (Column("a"),), ((text,),)))
