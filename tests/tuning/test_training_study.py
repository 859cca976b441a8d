"""A study that really trains, on a tiny corpus, over a real worker."""

import json

from safetensors import safe_open
from studies import database, drive, finals, process_pool, study
from tiny import corpus, run_spec

from nasctl.specs import Choice, FloatRange
from nasctl.tracking.memory import MemoryTracker
from nasctl.tuning.driven import StudyOrder
from nasctl.tuning.events import TrialEnded
from nasctl.tuning.folders import DrivenFolder
from nasctl.tuning.study import StudyStore

SPACE = (
    ("learning_rate", FloatRange("float", 1e-3, 1e-1, log=True)),
    ("seed", Choice("choice", (0, 1))),
)


def test_a_tiny_study_trains_and_tests_its_best_trial(tmp_path):
    run = run_spec(tmp_path / "cache", epochs=2)
    order = StudyOrder(study(trials=3, space=SPACE, run=run), "study: s\n")
    pool = process_pool(tmp_path, 1, warm=[(run.data, run.embedding.digest)])
    tracker = MemoryTracker()
    events = drive(tmp_path, [order], pool, tracker=tracker)
    final = finals(events)["s"]
    trials = {event.number: event.record for event in events if isinstance(event, TrialEnded)}
    assert final.finished == len(trials) == 3
    best = trials[final.best]
    assert best.value == max(record.value for record in trials.values())
    assert len(best.history) == 2
    assert final.final.dev == best.dev  # the checkpoint is the best trial's
    assert set(final.final.test) == {"pearson", "spearman"}
    folder = DrivenFolder(tmp_path, "s")
    with safe_open(folder.checkpoint, framework="numpy") as file:
        about = file.metadata()
    assert (about["digest"], json.loads(about["cells"])) == (best.digest, list(best.cells))
    rows = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    splits = corpus().splits
    assert [row["row_id"] for row in rows] == [*splits["dev"].row_ids, *splits["test"].row_ids]
    store = StudyStore(database(tmp_path))
    assert store.ended("s", final.best).record == best
    store.close()
