import math
from dataclasses import replace

import pytest
import torch
from tiny import ENAS, RANDOM_WS, search_spec

from nasctl.experiments.resuming import Resumption
from nasctl.experiments.run import Workplace
from nasctl.experiments.search import search
from nasctl.spaces.base import code_of
from nasctl.spaces.enas import EnasSpace
from nasctl.specs import SEARCH, search_digest
from nasctl.strategies import MemorySpec
from nasctl.tracking.records import RECORD, EpochRecord, Judging

MEMORY = MemorySpec(capacity=8, first=1, drawn=5, replaced=2, taught=2, batch=3, weight=1.0)
STRATEGIES = {"enas": ENAS, "memory": replace(ENAS, memory=MEMORY), "random_ws": RANDOM_WS}


def told_by(spec, folder, resumption=None, leave_after=None):
    """All that is told and what the search leaves; None where it is left after an epoch, or after `Judging` a cell."""
    generator = search(spec, Workplace(folder, "cpu", 1), resumption)
    told = []
    while True:
        try:
            told.append(next(generator))
        except StopIteration as end:
            return told, end.value
        if leave_after in (told[-1], getattr(told[-1], "epoch", "")):
            generator.close()
            return told, None


def found_by(*given, **more):
    """The epochs told and what the search leaves."""
    told, found = told_by(*given, **more)
    return [each for each in told if isinstance(each, EpochRecord)], found


def without_costs(record):
    history = tuple(replace(epoch, seconds=0.0) for epoch in record.history)
    return replace(record, seconds={}, memory={}, history=history, counts={**record.counts, "resumed": 0})


def assert_same(one, other):
    assert without_costs(one.record) == without_costs(other.record)
    assert one.examined == other.examined
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("model", ["blm", "esim"])
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_a_search_ends_with_a_pool_of_distinct_cells(tmp_path, model, strategy):
    spec = search_spec(tmp_path, model, strategy, epochs=3)
    told, found = found_by(spec, tmp_path)
    record = found.record
    assert tuple(told) == record.history
    assert (record.role, record.state, record.reason) == ("search", "finished", "")
    assert record.digest == search_digest(spec)
    assert record.value == record.dev["pearson"] == told[record.best_epoch - 1].dev["pearson"]
    assert record.test == {}
    assert len({each.code for each in record.found}) == len(record.found) == record.counts["codes"] == 4
    space = EnasSpace(3)
    assert all(code_of(each.code, space) for each in record.found)
    assert all(-1.0 <= each.score <= 1.0 and each.log_probability < 0.0 for each in record.found)
    assert {len(each) for each in found.examined.policies.values()} == {5}
    assert ("trained" in found.examined.policies) == (strategy.name == "enas")
    assert 0.0 <= told[-1].search["new"] <= told[0].search["new"] <= 1.0
    assert RECORD.validate_json(RECORD.dump_json(record)) == record
    assert {name.partition("/")[0] for name in found.weights} == {"child", "controller"}


def test_the_controllers_search_tells_what_it_earns(tmp_path):
    told, _ = found_by(search_spec(tmp_path, epochs=2), tmp_path)
    assert {"reward", "baseline", "entropy", "policy", "new"} <= told[0].search.keys()
    assert told[0].search["entropy"] == pytest.approx(3 * math.log(4) + math.log(2), abs=0.01)  # a uniform policy's
    assert told[0].cell.count("-") == 4


def test_the_same_search_gives_the_same_bits(tmp_path):
    spec = search_spec(tmp_path, epochs=2)
    _, one = found_by(spec, tmp_path)
    torch.manual_seed(7)
    _, other = found_by(spec, tmp_path)
    assert_same(one, other)
    _, third = found_by(replace(spec, training=replace(spec.training, seed=9)), tmp_path)
    assert third.record.found != one.record.found


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("after", [1, 3])
def test_a_search_that_was_left_goes_on_with_the_same_bits(tmp_path, strategy, after):
    spec = search_spec(tmp_path, strategy=strategy, epochs=4)
    _, whole = found_by(spec, tmp_path)
    resumption = Resumption(tmp_path / "resume.safetensors", 0.0, 0.0)
    found_by(spec, tmp_path, resumption, leave_after=after)
    told, again = found_by(spec, tmp_path, Resumption(resumption.path, 0.0, 0.0))
    assert [epoch.epoch for epoch in told] == list(range(after + 1, 5))
    assert again.record.counts["resumed"] == 1
    assert_same(whole, again)


def judged(found):
    """How many cells were judged in the end, each code once."""
    samples = [each.code for drawn in found.examined.policies.values() for each in drawn]
    return len({*samples, *(each.code for each in found.record.found)})


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_each_cell_that_is_judged_in_the_end_is_told_and_judged_once(tmp_path, strategy):
    spec = search_spec(tmp_path, strategy=strategy, epochs=2)
    whole, found = told_by(spec, tmp_path)
    cells = max(judged(found), RANDOM_WS.candidates if strategy is RANDOM_WS else 0)
    assert cells <= len(whole) - 2 == whole[-1].cells
    assert whole[2:] == [Judging(number, whole[-1].cells) for number in range(1, whole[-1].cells + 1)]
    path = tmp_path / "resume.safetensors"
    left, _ = told_by(spec, tmp_path, Resumption(path, math.inf, 0.0), leave_after=whole[4])
    again, other = told_by(spec, tmp_path, Resumption(path, math.inf, 0.0))
    assert [each for each in (*left, *again) if isinstance(each, Judging)] == whole[2:]
    assert again[0] == whole[5]  # neither an epoch nor a cell is done again
    assert_same(found, other)


def test_what_another_search_has_left_is_not_taken_up(tmp_path, caplog):
    spec = search_spec(tmp_path, epochs=3)
    path = tmp_path / "resume.safetensors"
    found_by(spec, tmp_path, Resumption(path, 0.0, 0.0), leave_after=2)
    other = replace(spec, training=replace(spec.training, epochs=4))
    told, _ = found_by(other, tmp_path, Resumption(path, 0.0, 0.0))
    assert told[0].epoch == 1
    assert "its digest is" in caplog.text


def test_the_pool_is_of_the_best_epoch(tmp_path):
    """The search of as many epochs as the best one took draws the same pool, from the same weights."""
    spec = search_spec(tmp_path, epochs=6)
    _, found = found_by(spec, tmp_path)
    best = found.record.best_epoch
    shorter = replace(spec, training=replace(spec.training, epochs=best))
    _, cut = found_by(shorter, tmp_path)
    assert cut.record.found == found.record.found
    assert all(torch.equal(cut.weights[name], found.weights[name]) for name in cut.weights)


def test_patience_ends_a_search(tmp_path):
    spec = search_spec(tmp_path, epochs=60, patience=2, learning_rate=1e-9)
    told, found = found_by(spec, tmp_path)
    assert len(told) == found.record.best_epoch + 2 < 60


def test_a_loss_that_is_not_finite_ends_a_search(tmp_path):
    _, found = found_by(search_spec(tmp_path, epochs=3, learning_rate=1e30), tmp_path)
    assert found.record.state == "diverged"
    assert "not finite" in found.record.reason
    assert found.record.found == ()
    assert found.record.value == -1.0
    assert found.examined is None


def test_weights_that_the_last_batch_has_spoiled_are_no_search(tmp_path):
    """No loss shows it in an epoch of a single batch."""
    spec = replace(search_spec(tmp_path, epochs=3, learning_rate=1e30), child_steps=1)
    told, found = found_by(spec, tmp_path)
    assert (len(told), found.record.state, found.record.best_epoch) == (1, "diverged", 0)
    assert found.record.reason.startswith("loss or scores not finite in epoch 1")
    assert (found.record.found, found.weights) == ((), {})


def test_a_pool_may_be_smaller_than_asked_for(tmp_path):
    spec = search_spec(tmp_path, epochs=1)
    few = replace(spec, found=replace(spec.found, count=50, max_draws=7))
    _, found = found_by(few, tmp_path)
    assert found.record.counts["draws"] == 7
    assert len(found.record.found) <= 7
    assert found.record.reason == f"{len(found.record.found)} distinct cells in 7 draws instead of 50"


def test_distinct_graphs_are_fewer_than_distinct_codes(tmp_path):
    spec = search_spec(tmp_path, strategy=replace(RANDOM_WS, candidates=300), epochs=1)
    by_graph = replace(spec, found=replace(spec.found, count=300, distinct="graph", max_draws=300, examined=0))
    by_code = replace(by_graph, found=replace(by_graph.found, distinct="code"))
    (_, graphs), (_, codes) = found_by(by_graph, tmp_path), found_by(by_code, tmp_path)
    assert len({each.digest for each in graphs.record.found}) == len(graphs.record.found)
    assert graphs.record.counts["graphs"] == codes.record.counts["graphs"] < codes.record.counts["codes"]


def test_random_sharing_takes_the_best_of_its_candidates(tmp_path):
    _, found = found_by(search_spec(tmp_path, strategy=RANDOM_WS, epochs=1), tmp_path)
    scores = [each.score for each in found.record.found]
    assert scores == sorted(scores, reverse=True)


def test_a_search_is_read_back_from_its_json(tmp_path):
    spec = search_spec(tmp_path)
    assert SEARCH.validate_json(SEARCH.dump_json(spec)) == spec
    assert search_digest(spec) != search_digest(replace(spec, judged=4))
