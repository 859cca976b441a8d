from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import corpus, run_spec

from nasctl.cells.library import LIBRARY
from nasctl.cells.rewrite import cell_digest
from nasctl.cells.spelling import spelled
from nasctl.data import corpus as corpora
from nasctl.data.corpus import corpus_digest
from nasctl.data.metrics import METRICS
from nasctl.errors import MachineError
from nasctl.experiments.run import Workplace, evaluate, save_weights, train
from nasctl.specs import run_digest
from nasctl.tracking.records import RECORD


def outcome_of(spec, workplace):
    generator = train(spec, workplace, "trial")
    told = []
    while True:
        try:
            told.append(next(generator))
        except StopIteration as end:
            return told, end.value


@pytest.mark.parametrize(("model", "cell"), [("blm", "lstm"), ("esim", "lstm"), ("bow", "lstm"), ("esim", "enas-24")])
def test_the_same_spec_gives_the_same_bits_whatever_ran_before(tmp_path, model, cell):
    spec, workplace = run_spec(tmp_path, model, cell=cell), Workplace(tmp_path, "cpu", 1)
    _, first = outcome_of(spec, workplace)
    outcome_of(run_spec(tmp_path, "blm", seed=5), workplace)
    torch.manual_seed(123)
    _, second = outcome_of(spec, Workplace(tmp_path, "cpu", 1))
    assert first.record.dev == second.record.dev
    assert [e.loss for e in first.record.history] == [e.loss for e in second.record.history]
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_where_runs_happen_no_lstm_is_rounded_to_tf32(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Workplace(tmp_path, "cpu", 1)
    assert not torch.backends.cudnn.allow_tf32


def test_the_record_tells_the_best_epoch_on_dev_and_nothing_of_test(tmp_path):
    spec, workplace = run_spec(tmp_path, epochs=6), Workplace(tmp_path, "cpu", 1)
    told, outcome = outcome_of(spec, workplace)
    record = outcome.record
    assert tuple(told) == record.history
    assert record.value == max(epoch.dev["pearson"] for epoch in told) == record.dev["pearson"]
    assert told[record.best_epoch - 1].dev == record.dev
    assert record.test == {}
    assert record.digest == run_digest(spec)
    assert record.parameters == 4 * 5 * (12 + 5 + 2) * 2 + (4 * 10 * 5 + 5) + (5 + 1)
    assert record.seconds["train"] > 0
    assert record.memory["host_rss_bytes"] > 0
    assert RECORD.validate_json(RECORD.dump_json(record)) == record


def test_the_record_tells_each_layers_cell_and_what_ran_it(tmp_path):
    lstms, mixed = run_spec(tmp_path, "esim", epochs=1), run_spec(tmp_path, "esim", cell="enas-24", epochs=1)
    mixed = replace(mixed, layers=(mixed.layers[0], lstms.layers[1]))
    workplace = Workplace(tmp_path, "cpu", 1)
    (_, one), (_, two) = outcome_of(lstms, workplace), outcome_of(mixed, workplace)
    assert one.record.cells == ({"code": "lstm", "digest": "lstm"},) * 2
    enas = LIBRARY["enas-24"].graph
    assert two.record.cells == ({"code": spelled(enas), "digest": cell_digest(enas)}, one.record.cells[1])
    assert one.record.backend == two.record.backend == "planned"
    more = two.record.parameters - one.record.parameters
    assert more == 2 * (enas.parameters(12, 5) - LIBRARY["lstm"].graph.parameters(12, 5))


def test_evaluation_answers_for_every_row_from_the_best_weights(tmp_path):
    spec, workplace = run_spec(tmp_path, epochs=6), Workplace(tmp_path, "cpu", 1)
    _, outcome = outcome_of(spec, workplace)
    path = tmp_path / "best.safetensors"
    save_weights(path, outcome.weights, {"digest": outcome.record.digest})
    result = evaluate(spec, path, outcome.record, workplace, "final")
    assert result.record.dev == outcome.record.dev  # the checkpoint is that of the best epoch
    assert result.record.role == "final"
    assert -1 <= result.record.test["pearson"] <= 1
    corpus = workplace.corpus(spec.data)
    assert [p.row_id for p in result.predictions] == [*corpus.splits["dev"].row_ids, *corpus.splits["test"].row_ids]


def test_f1_counts_the_classes_of_the_data_set_not_those_of_a_split(tmp_path):
    """The third class occurs nowhere here; F1 is a mean over classes all the same."""
    more = replace(corpus("classification"), classes=("no", "yes", "rare"))
    more = replace(more, digest=corpus_digest(more.task, more.classes, more.metric, more.vocabulary, more.splits))
    corpora.save(more, tmp_path)
    spec = replace(run_spec(tmp_path, "bow", task="classification"), data=more.digest, metric="f1")
    _, outcome = outcome_of(spec, Workplace(tmp_path, "cpu", 1))
    path = tmp_path / "best.safetensors"
    save_weights(path, outcome.weights, {"digest": outcome.record.digest})
    found = evaluate(spec, path, outcome.record, Workplace(tmp_path, "cpu", 1), "final")
    gold, made = np.array([(p.gold, p.prediction) for p in found.predictions if p.split == "dev"], int).T
    mean = METRICS["f1"].function(gold, made, 3)
    assert outcome.record.value == found.record.dev["f1"] == mean != METRICS["f1"].function(gold, made, 2)
    assert found.record.counts["classes"] == 3


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    spec, workplace = run_spec(tmp_path), Workplace(tmp_path, "cpu", 1)
    _, outcome = outcome_of(spec, workplace)
    path = tmp_path / "best.safetensors"
    save_weights(path, outcome.weights, {"digest": "another"})
    with pytest.raises(MachineError, match="belongs to run another"):
        evaluate(spec, path, outcome.record, workplace, "final")
    path.write_bytes(b"broken")
    with pytest.raises(MachineError, match="no usable checkpoint"):
        evaluate(spec, path, outcome.record, workplace, "final")


def test_a_diverged_run_is_finished_with_the_worst_value(tmp_path):
    spec = run_spec(tmp_path, learning_rate=1e30, grad_norm=1e30)
    _, outcome = outcome_of(spec, Workplace(tmp_path, "cpu", 1))
    assert outcome.record.state == "diverged"
    assert outcome.record.value == -1.0
    assert "not finite" in outcome.record.reason
    RECORD.dump_json(outcome.record)  # no NaN in it


def test_the_identity_of_a_run_is_what_decides_its_result(tmp_path):
    spec = run_spec(tmp_path)
    changed = [
        replace(spec, training=replace(spec.training, seed=1)),
        replace(spec, training=replace(spec.training, patience=3)),
        replace(spec, model=replace(spec.model, padding="zeros")),
        replace(spec, layers=(replace(spec.layers[0], hidden=6),)),
        run_spec(tmp_path, cell="gru"),
        replace(spec, result_version=spec.result_version + 1),
        replace(spec, data="another"),
    ]
    assert len({run_digest(s) for s in [spec, *changed]}) == 8
    assert run_digest(run_spec(tmp_path)) == run_digest(spec)
