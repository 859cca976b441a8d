"""`nasctl status`, `sync`, `stop`, `logs` and `resume` on searches: of no-op jobs, some driven by another process."""

from __future__ import annotations

import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from studies import Driven, drive, order, search_order, study

from nasctl.tuning.folders import Command, DrivenFolder
from nasctl.workers.logs import marker

pytestmark = pytest.mark.timeout(900)  # whoever comes first imports MLflow


@pytest.fixture
def root(store):
    """The default store, with a search that is over, one that is stopped, and a study."""
    drive(store, [order(study(trials=2)), search_order("found")])
    folder = DrivenFolder(store, "left", "search")
    folder.describe({}, "", Command("search", ("dataset=sick",), (), str(Path.cwd())))
    folder.advance(7, 150)
    return store


def test_status_lists_searches_and_the_cells_of_those_that_are_named(nasctl, root):
    told = [json.loads(line) for line in nasctl("status", "--json").stdout.splitlines()]
    assert [each.get("search") for each in told] == [None, "found", "left"]
    assert [(each["state"], each["epochs"], len(each["cells"])) for each in told[1:]] == [
        *(("finished", 3, 5), ("stopped", 7, 0))
    ]
    table = nasctl("status")
    assert "found   finished       3      5" in table.stdout
    assert "left    stopped    7/150      -      -" in table.stdout
    assert "nasctl resume goes on with those that are stopped" in table.stderr
    assert told[1]["cells"][0]["code"] not in table.stdout
    named = nasctl("status", "found").stdout
    rows = [line.split()[:2] for line in named.splitlines()]
    assert all([cell["code"], cell["digest"]] in rows for cell in told[1]["cells"])
    assert "STUDY" not in named
    assert "did you mean found?" in nasctl("status", "foumd").stderr


def test_sync_logs_searches_and_verify_sees_what_lacks(nasctl, root):
    lacking = nasctl("status", "--verify", "found")
    assert lacking.exit_code == 3
    assert "found, the search: MLflow has nothing of it" in lacking.stdout
    assert "would mend it: nasctl sync found\n" in lacking.stdout
    elsewhere = nasctl("status", "--verify", "found", "store.experiment=other")
    assert "would mend it: nasctl sync found store.experiment=other\n" in elsewhere.stdout
    assert nasctl("sync", "found").stdout == "1 search, 1 sent\n"
    assert nasctl("status", "--verify", "found", "left").exit_code == 0
    refused = nasctl("sync", "left")
    assert refused.exit_code == 3
    assert "the search left is not over" in refused.stderr
    told = [json.loads(line) for line in nasctl("sync", "--json").stdout.splitlines()]
    assert told[1:] == [{"searches": 1, "sent": 0}, {"runs": 0, "sent": 0}]
    assert nasctl("sync", "found", "--rebuild").stdout == "1 search, 1 sent\n"
    assert nasctl("status", "--verify").exit_code == 0


def test_a_store_of_searches_alone_is_no_empty_one(nasctl, root):
    (root / "studies.db").unlink()
    shutil.rmtree(root / "studies")
    assert nasctl("status").stdout.splitlines()[1].startswith("found ")
    assert nasctl("sync").stdout == "1 search, 1 sent\n"
    assert nasctl("status", "--verify").exit_code == 0


def test_resume_drives_searches_by_their_command_and_then_studies(nasctl, root, monkeypatch):
    calls = []
    module = types.ModuleType("nasctl.cli.search")
    module.run_again = lambda *arguments, **more: calls.append((*arguments, more))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    result = nasctl("resume", "--json")
    assert result.exit_code == 0
    assert result.stderr == "resuming left: it goes on where it was left; nasctl search dataset=sick\n"
    ((names, (command,), again, more),) = calls
    assert (names, command.name, command.overrides, again) == (
        *(["left"], "search", ("dataset=sick",), "nasctl resume left"),
    )
    assert more == {"retry": False, "as_json": True}
    folder = DrivenFolder(root, "left", "search")
    folder.describe({}, "", replace(folder.command(), name="report"))
    wrong = nasctl("resume", "left")
    assert wrong.exit_code == 3
    assert "left cannot be resumed by nasctl report" in wrong.stderr


def test_logs_of_a_search_are_those_of_its_job(nasctl, root):
    (root / "logs").mkdir()
    (root / "logs" / "worker-0.log").write_bytes(marker("s/0", 1) + b"\nno\n" + marker("found/search", 1) + b"\nyes\n")
    lines = nasctl("logs", "found").stdout.splitlines()
    assert lines[0].startswith("==> worker 0, found/search, attempt 1")
    assert lines[1:] == ["yes"]
    wrong = nasctl("logs", "found", "3")
    assert wrong.exit_code == 2
    assert "found is a search and has no trials" in wrong.stderr


def test_stop_ends_a_search_after_its_epoch(nasctl, tmp_path, checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    with Driven(tmp_path / "runs", search=200, workers=0, seconds=40.0) as driven:
        assert driven.until("EpochEnded")
        result = nasctl("stop", "f")
        assert driven.end()[0] == 130
    assert result.exit_code == 0
    assert "is asked to stop; its running epoch ends first (nasctl stop f --now leaves it)" in result.stderr
    assert result.stdout == "f is stopped; nasctl resume f\n"
    again = nasctl("stop", "f")
    assert "nobody drives f" in again.stderr
