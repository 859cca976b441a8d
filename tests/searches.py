"""Finished searches with made-up samples, for tests of the controller's study."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from records import LABELS, record

from nasctl.search.samples import Examined, SampledCell, write_samples
from nasctl.spaces.base import choices_of, code_text, sample
from nasctl.spaces.enas import EnasSpace
from nasctl.strategies import SpaceSpec
from nasctl.tracking.records import ENTRY, FoundCell, TrialEntry

UNITS = 20
METRIC = "pearson"


def drawn(nodes: int, count: int, *, memory: float, certainty: float, better: float = 0.0, seed: int = 0):
    """Samples of a made-up controller: `memory` says how much its state tells of the cell, 0 is nothing."""
    space, draw, normal = EnasSpace(nodes), Random(seed), np.random.default_rng(seed)
    columns = np.random.default_rng(9).normal(size=(2 * nodes - 1, 4 + nodes, UNITS))
    samples = []
    for _ in range(count):
        code = sample(space, draw)
        choices = choices_of(space, code)
        told = [columns[at, each.options.index(o)] for at, (each, o) in enumerate(zip(choices, code, strict=True))]
        hidden = np.tanh(columns[:, 0].mean(axis=0) + memory * np.sum(told, axis=0))
        largest = []
        for choice in choices:
            chance = 1 / len(choice.options)
            pull = certainty * (1 + memory * float(normal.uniform(-1, 1)))
            largest.append(chance + (1 - chance) * min(1.0, pull))
        score = 0.7 + better + 0.02 * float(normal.normal())
        samples.append(
            SampledCell(code_text(code), -1.0, tuple(largest), tuple(largest), tuple(map(float, hidden)), score)
        )
    return tuple(samples)


def uniform(nodes: int, count: int, seed: int = 0):
    """Uniform draws and their scores."""
    space, draw = EnasSpace(nodes), Random(seed)
    codes = [code_text(sample(space, draw)) for _ in range(count)]
    return tuple(SampledCell(code, score=0.7 + 0.02 * draw.gauss(0, 1)) for code in codes)


def keep(root: Path, name: str, policies, *, nodes: int = 6, found: tuple[FoundCell, ...] = (), **labels: str) -> None:
    """A search that is over, as the store's folder has it."""
    folder = root / "searches" / name
    write_samples(folder / "samples.json", Examined(1, SpaceSpec("enas", nodes), METRIC, policies))
    tags = {**LABELS, "nasctl.cell": "searched", "nasctl.layers": "C", **{f"nasctl.{k}": v for k, v in labels.items()}}
    ended = record(0.7, role="search", found=found)
    (folder / "record.json").write_bytes(ENTRY.dump_json(TrialEntry(0, {}, ended, tags)))


def three(root: Path, nodes: int, count: int) -> None:
    """A search with random cells, one with a plain controller, and one with a supervised one."""
    untrained = drawn(nodes, count, memory=0.002, certainty=0.02, seed=1)
    chance = uniform(nodes, count, seed=2)
    plain = drawn(nodes, count, memory=0.01, certainty=0.6, better=0.02, seed=3)
    taught = drawn(nodes, count, memory=0.25, certainty=0.5, better=0.015, seed=4)
    keep(root, f"random-{nodes}", {"untrained": untrained, "uniform": chance}, nodes=nodes)
    keep(root, f"plain-{nodes}", {"untrained": untrained, "trained": plain, "uniform": chance}, nodes=nodes)
    policies = {"untrained": untrained, "trained": taught, "uniform": chance}
    keep(root, f"supervised-{nodes}", policies, nodes=nodes, memory="buffer")
