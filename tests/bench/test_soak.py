"""Ten thousand trials in one study: `make soak`; docs/benchmarks.md, "Soak"."""

import itertools

import pytest
from driving import bench_study, driven

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

TRIALS = 10_000
SECONDS = 0.01


@pytest.mark.parametrize(("tracked", "promise"), [(False, 30.0), (True, 80.0)], ids=["untracked", "tracked"])
def test_ten_thousand_trials(tmp_path, tracked, promise):
    ends, whole = driven(tmp_path, [bench_study(tmp_path, "random", TRIALS)], {"seconds": SECONDS}, tracked=tracked)
    marks = [ends[0], *ends[999::1000]]
    per_thousand = [later[0] - earlier[0] for earlier, later in itertools.pairwise(marks)]
    milliseconds = 1000 * (whole - ends[999][0]) / (TRIALS - 1000)
    kilobytes = (ends[-1][1] - ends[999][1]) / 1024 / (TRIALS - 1000)
    print(
        f"soak, {'MLflow' if tracked else 'no tracker'}: {len(ends)} trials, {milliseconds:.1f} ms per trial, "
        f"{kilobytes:.1f} KB per trial; ms per trial of each thousand: {', '.join(f'{s:.1f}' for s in per_thousand)}; "
        f"whole {whole - ends[0][0]:.0f} s"
    )
    assert len(ends) == TRIALS
    assert milliseconds <= promise
    assert kilobytes <= 10.0
    assert per_thousand[-1] <= 1.5 * per_thousand[1]
