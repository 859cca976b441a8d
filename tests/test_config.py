"""Settings from conf/, sweeps/ and overrides; and every mistake in one line that says what would be right."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from tempfile import gettempdir

import pytest
import yaml

from nasctl.config.composition import as_yaml, compose, composition, expand
from nasctl.config.groups import conf_folder, options, search_folders, sweeps_folder
from nasctl.config.overrides import METHOD
from nasctl.config.settings import SETTINGS
from nasctl.errors import MachineError, UsageError
from nasctl.sources import ContextualSpec, StaticSpec
from nasctl.specs import BlmSpec, BowSpec, EsimSpec

OWN = ("dataset=own", "dataset.train=x.csv")


def test_defaults_need_no_download_and_no_override():
    settings = compose()
    assert (settings.dataset.source, settings.embedding.source, settings.model.name) == ("scenes", "svd", "blm")
    assert settings.training.epochs == 75
    assert settings.training.patience == 10
    assert settings.study.space == {}
    assert settings.trials is None


def test_the_papers_letters_set_two_keys():
    settings = compose(["model=esim", "layers=RL"])
    assert (settings.cell.name, settings.layers) == ("random", "CL")
    assert compose(["layers=R", "cell=random", "cell.seed=4"]).cell.seed == 4
    assert compose(["layers=LL", "model=esim"]).cell.name == "lstm"
    assert composition(["layers=R"]).overrides == ("layers=R",)


def test_no_other_seed_moves_the_pool():
    assert compose(["cell=random", "seed=3"]).cell.seed == 0


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        compose().seed = 3


def test_overrides_reach_their_keys():
    settings = compose(
        ["dataset=sick", "embedding=glove", "embedding.file=v.txt", "training.dropout=[0.1,0.2]", "seed=4"]
    )
    assert settings.dataset.name == "sick"
    assert settings.embedding.file == "v.txt"
    assert settings.training.dropout == (0.1, 0.2)
    assert settings.seed == settings.sampler.seed == 4


def test_a_whole_number_is_a_rate_too():
    assert compose(["training.learning_rate=1"]).training.learning_rate == 1.0


@pytest.mark.parametrize(
    ("overrides", "sweep"),
    [
        (["embedding=glove"], "paper/blm-glove-lstm"),
        (["embedding=glove", "model=esim"], "paper/esim-glove-lstm"),
        (["embedding=glove", "sweep=small"], "small"),
        (["embedding=glove", "cell=random"], "paper/blm-glove-cells"),
        (["embedding=glove", "model=esim", "layers=RL"], "paper/esim-glove-cells"),
        (["embedding=glove", "cell=named", "cell.names=[gru]", "sweep=small"], "small"),
        (["cell=random"], ""),
        ([], ""),
    ],
)
def test_the_sweep_follows_from_model_and_embedding(overrides, sweep):
    composed = composition(overrides)
    assert composed.sweep == sweep
    assert bool(composed.settings.study.space) == bool(sweep)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ([], ()),
        (["trials=12", "sampler=tpe", "study.name=mine"], ()),
        (["training=paper", "training.epochs=75"], ()),  # as the sweep has it
        (["training.epochs=30"], ("training.epochs=30",)),
        (["dataset=sick", "dataset.max_tokens=5"], ("dataset.max_tokens=5",)),
        (["cell=random", "cell.nodes=12", "cell.seed=7"], ("cell.nodes=12",)),
        (
            ["pruner=hyperband"],
            ("pruner.max_resource=75", "pruner.min_resource=3", "pruner.name=hyperband", "pruner.reduction_factor=3"),
        ),
        (["sampler=random"], ("sampler.name=random",)),
        (["search=random_ws", "search.judged=3"], ("search.judged=3",)),
        (["training.epochs=30", "study.space.hidden.choices=[150,200]"], None),
        (["study.limits=[]"], ()),
        (["model=esim", "embedding.file=x.txt", "model.padding=masked"], ()),
        (["model.padding=zeros", "embedding.oov=gaussian"], None),
        (["training.epochs=75", "model.padding=zeros", "model.masks=pair"], ("model.padding=zeros",)),
        (["training.grad_norm=5"], ("training.grad_norm=5.0",)),
        (["training=quick"], ("training.epochs=8", "training.hidden=[32]", "training.patience=3")),
        (["study={space:{batch_size:null}}"], ("study.space.batch_size=null",)),
    ],
)
def test_what_is_changed_of_a_method_is_told(overrides, changed):
    wanted = tuple(sorted(overrides)) if changed is None else changed
    composed = composition(["embedding=glove", *overrides])
    assert composed.changed == wanted
    read = ("cell.", "dataset.", "embedding.", "model.")
    assert composed.readings == tuple(each for each in wanted if each.startswith(read))


def test_where_the_others_lead_nowhere_all_of_a_method_is_changed(tmp_path):
    (tmp_path / "sweep").mkdir()
    sweep = "# @package study\nspace: {seed: {kind: int, low: 0, high: '???', log: false}}\ntrials: 2\n"
    (tmp_path / "sweep" / "mine.yaml").write_text(sweep)
    changed = composition(["sweep=mine", "study.space.seed.high=1"], [tmp_path]).changed
    assert "study.space.seed.high=1" in changed
    assert "training.epochs=75" in changed


def test_every_reading_is_a_method():
    """What stands elsewhere in a table: names, files and encoders, and how these read (the vectors' name says it)."""
    models, embeddings = (BlmSpec, EsimSpec, BowSpec), (StaticSpec, ContextualSpec)
    known = {"embedding": {"file", "encoder", "revision", "mix", "encode", "special_tokens", "source"}}
    for group, specs in {"model": models, "embedding": embeddings}.items():
        fields = {field.name for spec in specs for field in dataclasses.fields(spec)}
        assert fields - {"name"} - known.get(group, set()) == set(METHOD[group])


def test_a_sweep_sets_the_number_of_trials_and_an_override_wins():
    assert compose(["embedding=glove"]).trials == 500
    assert compose(["embedding=glove", "trials=12"]).trials == 12
    assert compose(["sweep=small", "study.trials=5"]).trials == 5


def test_an_explicit_group_wins_over_the_one_that_a_sweep_brings():
    assert compose(["sweep=small"]).training.epochs == 8
    assert compose(["sweep=small", "training=paper"]).training.epochs == 75
    assert compose(["sweep=demo", "dataset=mrpc"]).dataset.name == "mrpc"


NEEDED = {
    "cell=transferred": ("cell.source=mrpc",),
    "embedding=hf": ["embedding.name=owner/encoder"],
    "dataset=own": ["dataset.train=x.csv"],
    "cell=named": ["cell.names=[gru]"],
    "cell=file": ["cell.files=[mine.json]"],
}
"""What an option has no default for."""


@pytest.mark.parametrize("group", sorted(set(options()) - {"sweep"}))
def test_every_option_composes(group):
    for option in options()[group]:
        overrides = [f"{group}={option}"]
        settings = compose([*overrides, *NEEDED.get(f"{group}={option}", ())])
        assert getattr(settings, group) is not None


def test_every_default_is_in_conf_and_every_key_has_a_comment():
    fields = {field.name for field in dataclasses.fields(SETTINGS._type)}
    config = yaml.safe_load((conf_folder() / "config.yaml").read_text())
    groups = {name for entry in config.pop("defaults") if isinstance(entry, dict) for name in entry}
    assert set(config) | groups - {"optional sweep"} == fields
    for path in [*conf_folder().rglob("*.yaml"), *sweeps_folder().rglob("*.yaml")]:
        assert re.search(r"^# (?!@package)", path.read_text(), re.MULTILINE), f"{path} does not say what it is"
    for line in (conf_folder() / "config.yaml").read_text().splitlines():
        if re.match(r" *[a-z_]+:", line) and not line.startswith(("defaults:", "study:", "data:", "store:")):
            assert "  # " in line, f"no comment: {line}"


def test_yaml_reads_back_as_what_was_composed():
    settings = compose(["embedding=glove", "store.root=/some/where"])
    assert SETTINGS.dump_python(settings, mode="json") == yaml.safe_load(as_yaml(settings))


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: tuple[tuple[list[str], str, str], ...] = (
    # options of groups
    (["dataset=sik"], "dataset=sik: there is no dataset called sik", "did you mean sick?"),
    (["sweep=smal"], "sweep=smal: there is no sweep called smal", "did you mean small?"),
    (["cell=gru"], "there is no cell called gru", "known: file, lstm, named, random"),
    (["cell=named"], "cell.names is needed and has no default", "give cell.names="),
    (["cell=named", "cell.names=gru"], "expected a list in brackets", "cell.names=[gru]"),
    (["cell=random", "cell.count=0"], "cell.count=0: expected a number greater than 0", ""),
    (["cell=random", "cell.names=[gru]"], "cell.names: no such key", ""),
    (["layers=RL", "cell=named", "cell.names=[gru]"], "layers=RL is short for cell=random layers=CL", "layers=CL, or"),
    (["layers=RT"], "layers=RT takes cells from two places", "RL, RR"),
    (["training=3"], "training takes one of its options", "known: paper, quick, short"),
    (["sampler.name=random"], "sets the name and nothing else", "sampler=random chooses it"),
    # keys
    (["training.epohs=3"], "training.epohs: no such key", "did you mean training.epochs"),
    (["epochs=3"], "epochs: no such key", "did you mean training.epochs or search.training.epochs?"),
    (["training.epoch=5"], "training.epoch: no such key", "did you mean training.epochs?"),
    (["training.seed=1"], "training.seed: no such key", "did you mean seed or sampler.seed?"),
    (["search.trainng.epochs=5"], "search.trainng.epochs: no such key", "did you mean search.training.epochs?"),
    (["search.trainng.epohs=5"], "search.trainng.epohs: no such key", "did you mean search.training.epochs?"),
    (["training.max_epochs=5"], "training.max_epochs: no such key", "did you mean training.epochs"),
    (["datset=sick"], "datset: no such key", "did you mean dataset"),
    (["zzz=1"], "zzz: no such key", "--cfg"),
    (["embedding=glove", "study.space.hiden.choices=[3]"], "no such key", "did you mean study.space.hidden.choices"),
    (["study.space.hidden.choices=[3]"], "no such key", "no sweep applies"),
    (["training.epochs.x=3"], "training.epochs is one value and has no keys", "training.epochs=VALUE"),
    (
        ["embedding=glove", "study.space.epochs={kind:choice,choices:[3,4]}"],
        "study.space.epochs: the sweep does not search epochs",
        "a sweep of your own says what is searched",
    ),
    (["embedding=glove", "+study.space.epochs={kind:choice,choices:[3]}"], "adds keys", "a sweep of your own says"),
    (
        ["embedding=glove", "study.space.learning_rate={kind:choice,choices:[0.1,0.2]}"],
        "this does not fit into study.space.learning_rate",
        "a sweep of your own says",
    ),
    (["search.training={epohs:3}"], "this does not fit into search.training", "one key at a time: search.training.lea"),
    (
        [*OWN, "dataset.test=t.csv", "dataset.test_fraction=0.5"],
        "test_fraction=0.5: the test data are those of",
        "leav",
    ),
    (
        [*OWN, "dataset.dev=d.csv", "dataset.dev_fraction=0.5"],
        "the dev data are those of dataset.dev",
        "leave dataset.",
    ),
    (["embedding=svd", "dataset.max_pieces=7"], "word vectors read words", "leave dataset.max_pieces= away"),
    (["embedding=minilm", "dataset.max_tokens=7"], "an encoder reads word pieces", "leave dataset.max_tokens= away"),
    (
        ["model=bow", "training.hidden=[7]"],
        "training.hidden=[7]: the model has no recurrent layer",
        "leave training.hid",
    ),
    (
        ["embedding=bert", f"embedding.encoder={gettempdir()}", "embedding.revision=main"],
        "embedding.revision=main: the encoder is a folder",
        "leave embedding.rev",
    ),
    (["+training.epohs=3"], "adds keys", "training.epohs=3"),
    (["++seed=3"], "adds keys", "seed=3"),
    (["~sweep"], "removes keys", "KEY=VALUE"),
    (["hydra.verbose=true"], "nasctl sets hydra.* itself", "--conf"),
    # types and values
    (["training.epochs=abc"], "training.epochs=abc: expected a whole number", ""),
    (["training.epochs=1.5"], "training.epochs=1.5: expected a whole number", ""),
    (["trials=true"], "trials=true: expected a whole number", ""),
    (["trials=0"], "trials=0: expected a number greater than 0", ""),
    (["workers=abc"], "workers=abc: expected a whole number or auto", ""),
    (["training.loss=mes"], "expected mse, mae, cross_entropy or auto", "did you mean mse"),
    (["training.dropout=0.3"], "expected a list in brackets", "training.dropout=[0.3]"),
    (["training.dropout=[1.3]"], "expected a number less than 1 for training.dropout[0]", ""),
    (["training.learning_rate=nan"], "expected a finite number", ""),
    ([*OWN, "dataset.split_seed=-1"], "dataset.split_seed=-1: expected a number greater than or equal to 0", ""),
    ([*OWN, "dataset.split_seed=4294967296"], "expected a number less than 4294967296", ""),
    ([*OWN, "dataset.columns.label=true"], "expected a text", "'dataset.columns.label=\"true\"'"),
    ([*OWN, "dataset.columns.id=1_000"], "expected a text", "'dataset.columns.id=\"1_000\"'"),
    (["store.root=2024"], "expected a text", "'store.root=\"2024\"'"),
    (["store.url="], "store.url=: expected a text that is not empty", ""),
    (["store.root="], "store.root=: expected a text that is not empty", ""),
    (["study.name=a/b"], "study.name=a/b: expected letters and digits", ""),
    (["embedding=glove", "study.space.hidden.kind=chioce"], "kind=chioce: expected choice, float or int", ""),
    (["embedding=glove", "study.space.hidden.choices=[]"], "expected at least one entry", ""),
    (["sampler=tpe_paper", "sampler.group=true"], "sampler: group=true needs multivariate=true", ""),
    # grammar
    (["sick"], "sick: not an override", "did you mean dataset=sick?"),
    (["demo"], "demo: not an override", "did you mean dataset=demo or search=demo or sweep=demo?"),
    (["=3"], "=3: not an override", "KEY=VALUE"),
    (["seed=0,1"], "seed=0,1: more than one value", "-m makes one run of each"),
    (["data.root=/a,b/c"], "more than one value", "'data.root=\"/a,b/c\"'"),
    (["data.root=/a=b"], "this value cannot be read", "'data.root=\"/a=b\"'"),
    (["training.hidden=[3"], "this value cannot be read", ""),
    # what may not be said, and what must be
    (
        ["store.url=postgresql://me:secret@host/db"],
        "store.url: an override must not hold a password",
        "NASCTL_STORE_URL",
    ),
    (["store.url=postgresql://host/db?password=secret"], "must not hold a password", "NASCTL_STORE_URL"),
    (
        ["store.tracking=https://me:secret@host"],
        "store.tracking: an override must not hold a password",
        "NASCTL_STORE_TRACKING",
    ),
    (["store.root=${oc.env:HOME}"], "calls a resolver", "references"),
    (["seed=${nosuch}"], "seed: ${nosuch} leads nowhere", "references"),
    (["dataset=own"], "dataset.train is needed and has no default", "give dataset.train="),
    (["embedding=glove", "sweep=paper/table3"], "study.space.hidden.choices is needed", "choices=..."),
)


@pytest.mark.parametrize(("overrides", "message", "hint"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_costs_one_line(overrides, message, hint):
    with pytest.raises(UsageError) as caught:
        compose(overrides)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value) + caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint
    assert "+training" not in caught.value.hint


@pytest.mark.parametrize("path", ["/a,b/c", "/a=b", "/with space/x", "/it's", '/a"b'])
def test_the_quoted_form_in_a_hint_works(path):
    import shlex

    try:
        compose([f"data.root={path}"])
    except UsageError as error:
        (override,) = shlex.split(re.search(r": ('.*|\"?[^ ]*data\.root=.*)$", error.hint).group(1))
        assert compose([override]).data.root == path


def test_missing_keys_are_all_named():
    with pytest.raises(UsageError, match=r"dataset\.max_tokens, dataset\.train are needed and have no defaults"):
        compose(["dataset=own", "dataset.max_tokens=???"])


def test_a_reset_to_mandatory_counts_in_its_own_order():
    with pytest.raises(UsageError, match="seed is needed"):
        compose([*OWN, "seed=???"])


def test_passwords_in_yaml_are_hidden(tmp_path):
    (tmp_path / "sampler").mkdir()
    settings = compose()
    told = dataclasses.replace(
        settings, store=dataclasses.replace(settings.store, url="postgresql://me:secret@host/db")
    )
    assert "secret" not in as_yaml(told)
    assert "me:***@host" in as_yaml(told)


# --- several runs -----------------------------------------------------------------------------------------------------


def test_multirun_makes_the_product_in_order():
    assert expand(["dataset=sick,mrpc", "seed=0,1", "model=esim"]) == [
        ["dataset=sick", "seed=0", "model=esim"],
        ["dataset=sick", "seed=1", "model=esim"],
        ["dataset=mrpc", "seed=0", "model=esim"],
        ["dataset=mrpc", "seed=1", "model=esim"],
    ]


def test_multirun_reads_ranges_and_quoted_commas():
    assert expand(["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert expand(["seed=choice(4,5)"]) == [["seed=4"], ["seed=5"]]
    (one,) = expand(['data.root="/a,b"'])
    assert compose(one).data.root == "/a,b"
    assert expand(["training.hidden=[64],[96]"]) == [["training.hidden=[64]"], ["training.hidden=[96]"]]
    assert expand([]) == [[]]


def test_multirun_refuses_intervals_and_patterns():
    for asked in ("training.learning_rate=interval(0,1)", "dataset=glob(demo*)"):
        with pytest.raises(UsageError, match="-m takes lists, not intervals or patterns"):
            expand([asked])


# --- the user's own groups --------------------------------------------------------------------------------------------


def own_group(folder: Path, group: str, name: str, text: str | bytes) -> Path:
    path = folder / group / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_own_groups_stand_beside_the_shipped_ones(tmp_path):
    place = tmp_path / "with space, comma='quote"
    own_group(place, "training", "mine", "defaults: [paper, _self_]\nepochs: 7\n")
    own_group(place, "sweep", "mine", "# @package study\ntrials: 3\nspace:\n  seed: {kind: choice, choices: [0, 1]}\n")
    settings = compose(["training=mine", "sweep=mine"], [place])
    assert settings.training.epochs == 7
    assert settings.trials == 3
    assert set(settings.study.space) == {"seed"}


@pytest.mark.parametrize(
    ("group", "text", "message", "hint"),
    [
        ("training", "defaults: [paper, _self_]\nepohs: 7\n", "training.epohs: no such key", "did you mean epochs"),
        ("training", "epochs: 7\n", "training.batch_size is missing", "write batch_size:"),
        ("training", "defaults: [paper, _self_]\nepochs: many\n", 'training.epochs: "many": expected a whole', ""),
        ("training", "epochs: [\n", "not YAML", ""),
        ("training", "defaults: [nosuch]\n", "does not compose", ""),
        (
            "training",
            b"# caf\xe9\ndefaults: [paper, _self_]\n",
            "training/mine.yaml, line 1: byte 0xe9 is not UTF-8",
            "iconv -f cp1252 -t utf-8 ",
        ),
        ("sweep", "trials: 3\n", "sweep: no such key", "# @package study"),
        ("training", "defaults: [paper, _self_]\non: 1\n", "training.true: no such key", ""),
    ],
)
def test_mistakes_in_own_groups_are_named(tmp_path, group, text, message, hint):
    with pytest.raises(UsageError) as caught:
        compose([f"{group}=mine"], [own_group(tmp_path, group, "mine", text)])
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_an_own_file_may_not_hide_a_shipped_one(tmp_path):
    with pytest.raises(UsageError, match="nasctl has a training=paper already"):
        compose([], [own_group(tmp_path, "training", "paper", "epochs: 1\n")])


def test_two_own_folders_may_not_hide_each_others_files(tmp_path):
    one, other = (own_group(tmp_path / name, "training", "mine", "defaults: [paper]\n") for name in ("one", "other"))
    assert compose(["training=mine"], [one, one]).training.epochs == 75
    with pytest.raises(UsageError, match=f"--conf {other}: {one} has a training=mine already"):
        compose(["training=mine"], [one, other])


def test_an_own_folder_has_groups_and_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    with pytest.raises(UsageError, match=r"its config[.]yaml is not read"):
        compose([], [tmp_path])


def test_all_candidates_of_a_search_are_drawn():
    assert compose(["search=random_ws", "search.strategy.candidates=5000"]).search.found.max_draws == 5000


def test_an_own_folder_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        search_folders([tmp_path / "nowhere"])


# --- where conf/ lies -------------------------------------------------------------------------------------------------


def test_an_installed_package_takes_its_own_conf_and_not_a_neighbour(tmp_path, monkeypatch):
    import nasctl

    package = tmp_path / "site-packages" / "nasctl"
    (package / "conf").mkdir(parents=True)
    (package / "conf" / "config.yaml").touch()
    (tmp_path / "site-packages" / "conf").mkdir()
    (tmp_path / "site-packages" / "conf" / "config.yaml").touch()  # somebody else's
    monkeypatch.setattr(nasctl, "__file__", str(package / "__init__.py"))
    assert conf_folder() == package / "conf"
    with pytest.raises(MachineError, match="no sweeps/"):
        sweeps_folder()
    (tmp_path / "site-packages" / "pyproject.toml").touch()  # now it is a checkout
    assert conf_folder() == tmp_path / "site-packages" / "conf"
