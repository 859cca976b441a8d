from __future__ import annotations

import pytest
from published import write_mrpc, write_sick, write_stsb

from nasctl.data.official import read_mrpc, read_sick, read_stsb
from nasctl.errors import MachineError, UsageError


def sizes(parts):
    return {name: len(part.pairs) for name, part in parts.items()}


def test_mrpc_is_split_as_glue_splits_it(tmp_path):
    write_mrpc(tmp_path)
    parts = read_mrpc(tmp_path)
    assert sizes(parts) == {"train": 3668, "dev": 408, "test": 1725}
    assert [pair.id for pair in parts["dev"].pairs[:2]] == ["5-9005", "14-9014"]
    first = parts["train"].pairs[0]
    assert (first.id, first.label) == ("0-9000", "0")
    assert first.first.startswith('"')
    assert first.second.endswith(' "')
    assert parts["train"].where(0).endswith("msr_paraphrase_train.txt, line 2")
    assert not {pair.id for pair in parts["train"].pairs} & {pair.id for pair in parts["dev"].pairs}


def test_mrpc_with_the_line_ends_of_windows_is_the_same(tmp_path):
    write_mrpc(tmp_path / "lf")
    write_mrpc(tmp_path / "crlf", line_end="\r\n")
    assert read_mrpc(tmp_path / "lf")["train"].pairs == read_mrpc(tmp_path / "crlf")["train"].pairs


def test_mrpc_with_ids_of_another_file_is_refused(tmp_path):
    write_mrpc(tmp_path)
    ids = tmp_path / "dev_ids.tsv"
    ids.write_text(ids.read_text().replace("5\t9005\n", "5\t9006\n", 1))
    with pytest.raises(UsageError, match=r"dev_ids.tsv: of its 408 pairs, 407 are in"):
        read_mrpc(tmp_path)


def test_stsb_has_rows_of_seven_fields_and_of_nine(tmp_path):
    write_stsb(tmp_path)
    parts = read_stsb(tmp_path)
    assert sizes(parts) == {"train": 5749, "dev": 1500, "test": 1379}
    nine, seven = parts["dev"].pairs[:2]
    assert (nine.id, nine.label) == ("main-news/made-up-dev/2016/0000", "0.000")
    assert seven.second.endswith(" 4.")
    assert seven.first.startswith('"')


@pytest.mark.parametrize("header", [False, True])
def test_sick_is_split_by_its_rows_in_file_order(tmp_path, header):
    from sklearn.model_selection import train_test_split

    write_sick(tmp_path, header=header)
    parts = read_sick(tmp_path)
    assert sizes(parts) == {"train": 4050, "dev": 450, "test": 4927}
    ids = [str(row) for row in range(1, 4501)]
    train, dev = train_test_split(ids, test_size=0.1, random_state=0)
    assert [pair.id for pair in parts["train"].pairs] == train
    assert [pair.id for pair in parts["dev"].pairs] == dev
    assert parts["dev"].lines[0] == int(dev[0]) + header


def test_another_number_of_rows_is_refused(tmp_path):
    write_sick(tmp_path, train=4499)
    with pytest.raises(UsageError, match=r"SICK_train.txt has 4499 rows, expected 4500") as caught:
        read_sick(tmp_path)
    assert "`nasctl data check sick` compares it, `nasctl data fetch sick` brings another" in caught.value.hint


def test_a_row_of_another_width_is_refused(tmp_path):
    write_stsb(tmp_path)
    path = tmp_path / "sts-dev.csv"
    lines = path.read_text().split("\n")
    lines[10] += "\tmore"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"sts-dev.csv, line 11: 8 fields, expected 7 or 9"):
        read_stsb(tmp_path)


def test_a_file_that_is_missing_says_how_to_get_it(tmp_path):
    write_sick(tmp_path / "sick")
    (tmp_path / "sick/SICK_test_annotated.txt").unlink()
    with pytest.raises(MachineError, match=r"SICK_test_annotated.txt is not there") as caught:
        read_sick(tmp_path / "sick")
    assert "nasctl data fetch sick" in caught.value.hint
