"""How MLflow's user interface is started on a store, and the two views of it that show studies and their trials."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from nasctl.databases import redacted
from nasctl.errors import UsageError
from nasctl.tracking import tags as tag

HOST = "127.0.0.1"
View = Literal["studies", "trials"]

_COLUMNS = (
    "attributes.`Duration`",
    *(f"metrics.`{name}`" for name in ("value", "test/pearson", "test/accuracy", "seconds", "epochs", "study/trials")),
    *(f"params.`{name}`" for name in ("batch_size", "learning_rate", "hidden_1", "hidden_2", "seed")),
    *(f"tags.`{name}`" for name in (tag.DATASET, tag.EMBEDDING, tag.MODEL, tag.LAYERS, tag.STATE, tag.SWEEP)),
)
_FACETS: Mapping[str, Any] = {
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
    "selectedColumns": _COLUMNS,
}
_VIEWS: Mapping[View, Mapping[str, Any]] = {
    "studies": _FACETS,  # each folds out into its trials
    "trials": {
        **_FACETS,
        "searchFilter": f"tags.`{tag.KIND}` = 'trial'",
        "groupBy": {"aggregateFunction": "max", "groupByKeys": [{"mode": "tag", "groupByData": tag.STUDY}]},
    },
}
_NOTE = f"""Runs of nasctl: a run per study, with one child per trial, one per search, and those of `nasctl train`.

Find them by their tags, e.g. ``tags.`{tag.KIND}` = 'trial' and tags.`{tag.DATASET}` = 'sick'``, and group them by
`{tag.STUDY}`.
"""


def experiment_tags() -> dict[str, str]:
    """What an experiment carries for the user interface: a note, its kind, and the views under their share keys."""
    views = {f"mlflow.sharedViewState.{name}": json.dumps(view) for name, view in _VIEWS.items()}
    return {"mlflow.note.content": _NOTE, "mlflow.experimentKind": "custom_model_development", **views}


def ui_link(experiment_id: str, port: int, view: View = "studies") -> str:
    """The address of the studies, each to be folded out, or of all trials grouped by their study."""
    return f"http://{HOST}:{port}/#/experiments/{experiment_id}/runs?viewStateShareKey={view}"


def ui_command(uri: str, artifacts: Path | str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command that serves the store's runs on the loopback, and the whole environment that it runs in.

    The addresses travel in the environment, since the arguments of a process are shown to everybody. MLflow's settings
    of the caller's own environment are dropped. The server may run while a study writes; it answers after 5 to 12 s.

    Raises UsageError where the store is a server already.
    """
    if urlsplit(uri).scheme in {"http", "https"}:
        raise UsageError("the store is a server and has its own user interface", f"open {redacted(uri)} in a browser")
    argv = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(artifacts),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return argv, kept | settings
