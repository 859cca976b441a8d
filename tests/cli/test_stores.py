"""Where a command's stores are, and who may know their passwords."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from nasctl.cli.stores import quoted, stores_of, working_in
from nasctl.config.composition import compose
from nasctl.databases import TRACKING_VARIABLE, URL_VARIABLE
from nasctl.errors import UsageError
from nasctl.workers.local import worker_environment


def stores(*overrides):
    return stores_of(compose(overrides))


def test_without_a_word_both_databases_lie_in_the_folder():
    found = stores()
    assert found.root == Path.cwd() / "runs"
    assert found.files() == {"studies": found.root / "studies.db", "tracking": found.root / "mlflow.db"}


@pytest.mark.parametrize(
    ("variable", "key", "part"),
    [(URL_VARIABLE, "store.url", "studies"), (TRACKING_VARIABLE, "store.tracking", "tracking")],
)
def test_an_address_with_a_password_comes_from_the_environment(monkeypatch, variable, key, part):
    secret = "postgresql://me:secret@host/db"
    monkeypatch.setenv(variable, secret)
    other = "tracking" if part == "studies" else "studies"
    found = stores()
    assert getattr(found, part) == secret
    assert getattr(found, other).startswith("sqlite:///")
    assert part not in found.files()
    with pytest.raises(
        UsageError, match=f"{key}=postgresql://elsewhere/db, and the environment's {variable}"
    ) as caught:
        stores(f"{key}=postgresql://elsewhere/db")
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    monkeypatch.setenv(variable, "postgresql://elsewhere/db")
    assert getattr(stores(f"{key}=postgresql://elsewhere/db"), part) == "postgresql://elsewhere/db"
    assert variable not in worker_environment({variable: secret, "PATH": "/bin"}, "", threads=1)


def test_an_address_is_no_secret_by_itself():
    assert stores("store.tracking=http://host:5000").tracking == "http://host:5000"


def test_two_libraries_need_two_databases():
    with pytest.raises(UsageError, match="are one database; Optuna and MLflow need one each"):
        stores("store.url=postgresql://h/db", "store.tracking=postgresql://h/db")


@pytest.mark.parametrize("name", ["why?", "100%20"])
def test_a_folder_that_no_address_can_name_is_refused(name):
    with pytest.raises(UsageError, match="cannot stand in a database's address"):
        stores(f"store.root='/data/{name}'")
    servers = ("store.url=postgresql://h/a", "store.tracking=postgresql://h/b")
    assert stores(*servers, f"store.root='/data/{name}'").root.name == name
    assert stores("store.root='/data/größe #1 100%'").files()


def test_a_command_is_told_with_what_leads_to_the_stores(monkeypatch):
    assert stores().typed("nasctl", "ui") == "nasctl ui"
    here = "store.root='/data/größe #1'"
    assert stores(here).typed("nasctl", "ui") == "nasctl ui 'store.root=\"/data/größe #1\"'"
    server = ("store.root=/data", "store.tracking=http://host:5000", "store.experiment=mine")
    assert stores(*server).typed("nasctl", "resume", "s") == f"nasctl resume s {' '.join(server)}"
    monkeypatch.setenv(URL_VARIABLE, "postgresql://h/db")  # whoever types it has that, too
    assert stores("store.root=/data").typed("nasctl", "report") == "nasctl report store.root=/data"


def test_a_command_is_told_for_the_folder_in_which_it_will_be_typed(tmp_path, monkeypatch):
    (tmp_path / "begun").mkdir()
    monkeypatch.chdir(tmp_path)
    with click.Context(click.Command("resume")), working_in(tmp_path / "begun"):
        found = stores("store.url='sqlite:///dbs/my.db?timeout=5'")
        assert found.studies == f"sqlite:///{tmp_path}/begun/dbs/my.db?timeout=5"
        told = f"nasctl ui store.root={tmp_path}/begun/runs"
        assert stores().typed("nasctl", "ui") == told
        with working_in(tmp_path):
            assert stores().typed("nasctl", "ui") == "nasctl ui"
    assert Path.cwd() == tmp_path


TEXTS = ("runs", "./x", "~/x", "/a b/c", "/data/größe", "größe #1", "a,b=c", "http://h:5000/x")
NUMBERS = ("123", "1e5", "1_000", ".5", "-inf", "nan", "true", "Null")
MARKS = ('say "so"', "back\\slash", "ends\\\\", '\\"')


@pytest.mark.parametrize("text", [*TEXTS, *NUMBERS, *MARKS])
def test_a_quoted_text_comes_back(text):
    assert compose([f"store.root={quoted(text)}"]).store.root == text
