"""An epoch of a row of Table 5 by the planned engine and by the plain loop: docs/benchmarks.md; `make bench`.

NASCTL_BENCH_SETTINGS says where the data are (data.root=... embedding.file=...); NASCTL_BENCH_ROWS names other rows.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time

import pytest
import torch

from nasctl.cli.paper import paper_overrides
from nasctl.cli.resolution import cells_asked, resolved
from nasctl.cli.stores import stores_of
from nasctl.compiler.layer import RecurrentLayer
from nasctl.config.composition import compose
from nasctl.experiments.run import Workplace, build
from nasctl.training.adam import Adam, grouped
from nasctl.training.loop import descend

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(3600),
    pytest.mark.skipif("NASCTL_BENCH_SETTINGS" not in os.environ, reason="NASCTL_BENCH_SETTINGS names no data"),
]

ROUNDS = 2
SETTINGS = os.environ.get("NASCTL_BENCH_SETTINGS", "").split()
ROWS = os.environ.get("NASCTL_BENCH_ROWS", "blm/glove/R/sick").split(",")


@pytest.mark.parametrize("row", ROWS)
def test_an_epoch_of_a_row_against_the_plain_loop(tmp_path, row):
    torch.set_num_threads(1)
    settings = compose([*paper_overrides(row, SETTINGS), *SETTINGS, f"store.root={tmp_path}"])
    stores = stores_of(settings)
    run = resolved(settings, cells_asked(settings), stores).run
    place = Workplace(stores.cache, "cpu", 1)
    train, took = place.data(run).splits["train"], {"planned": [], "reference": []}
    for number in range(1, ROUNDS + 1):
        for backend, seconds in took.items():
            model = build(run, place)
            for layer in model.modules():
                if isinstance(layer, RecurrentLayer):
                    layer.backend = backend
            optimiser = Adam(grouped(model, run.training.weight_decay), run.training.learning_rate)
            masks, began = torch.Generator().manual_seed(number), time.perf_counter()
            descend(itertools.repeat(model), train, run.training, number, optimiser, masks=masks, device="cpu")
            seconds.append(time.perf_counter() - began)
    planned, plain = (statistics.median(seconds) for seconds in took.values())
    print(f"\n{row}: an epoch of {len(train)} pairs takes {planned:.1f} s, by the plain loop {plain:.1f} s")
    assert planned < plain
