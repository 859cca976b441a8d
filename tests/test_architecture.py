"""The architecture, said once and held: floors, doors, no cycles, and what no module may do.

Every rule is a function from parsed modules to complaints ("file:line imports X: why"). The tree must give none, and
small made-up trees show that each rule can complain. Imports count wherever they stand (see source_tree.py).
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from source_tree import Import, Module, Tree, own_name, parse, read_tree

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    "__main__",
    "cli",
    "config reports tuning",
    "workers",
    "experiments",
    "search",
    "training",
    "models",
    "compiler embeddings tracking",
    "data spaces",
    "sources",
    "specs",
    "cells",
    "arrays strategies",
    "databases faults files reference rng samplers",
    "errors",
    "__init__",
)
"""Top to bottom; a room imports itself and the floors below. Rooms that are still to come have their place already."""

DOORS = {
    "click": "cli",
    "huggingface_hub": "embeddings.encoders",
    "hydra": "config",
    "jinja2": "reports.html",
    "matplotlib": "reports.plots",
    "mlflow": "tracking.store",
    "networkx": "search.diagnostics",
    "omegaconf": "config",
    "onnxruntime": "cli.onnx",
    "optuna": "tuning.study",
    "pooch": "data.sources",
    "pyarrow": "data.sources",
    "pynvml": "workers.local",
    "ray": "workers.ray",
    "rich": "cli",
    "sklearn": "data.splits embeddings.static",
    "spacy": "data.tokens",
    "sqlalchemy": "databases tracking.store tuning.study",
    "transformers": "embeddings.contextual",
    "triton": "compiler.kernels",
}
"""Library -> the modules (or rooms) that may import it; everybody else goes through those."""

WORKER_MODULES = (
    "arrays cells compiler data.batches data.corpus data.metrics embeddings.features embeddings.vectors errors "
    "experiments.alone experiments.costs experiments.course experiments.resuming experiments.run experiments.search "
    "files models rng samplers search.controller search.enas search.examining search.policy search.random "
    "search.samples search.sharing search.strategy search.supernet spaces specs strategies tracking.records "
    "training workers.jobs workers.noop workers.protocol workers.session workers.worker"
)
"""What a resident worker loads: each imports only others of these, the libraries below, and the standard one."""
WORKER_LIBRARIES = frozenset({"click", "numpy", "pydantic", "safetensors", "torch"})

TORCH_FREE = (
    "cells compiler.plan experiments.alone reports.controller reports.plots reports.tables search.diagnostics "
    "search.proposers search.samples sources spaces specs strategies"
)
"""What never loads torch when imported, not even through others."""

VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
UNSAFE_MODULES = frozenset({"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"})


Rule = Callable[[Tree], Iterator[str]]


def _within(name: str, rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms.split())


def _at(module: Module, imported: Import, why: str) -> str:
    return f"{module.path}:{imported.line} imports {imported.module}: {why}"


def _pairs(tree: Tree) -> Iterator[tuple[Module, Import]]:
    return ((module, imported) for module in tree.values() for imported in module.imports)


# --- rules ------------------------------------------------------------------------------------------------------------


def floors(tree: Tree) -> Iterator[str]:
    height = {room: -number for number, floor in enumerate(FLOORS) for room in floor.split()}
    yield from (f"{m.path}: {m.room} stands on no floor of FLOORS" for m in tree.values() if m.room not in height)
    for module, imported in _pairs(tree):
        room = (own_name(imported.module) or "").split(".")[0]
        if not room or room == module.room or module.room not in height:
            continue
        if room not in height:
            yield _at(module, imported, "there is no such room")
        elif height[room] == height[module.room]:
            yield _at(module, imported, f"{room} is a neighbour of {module.room} on its floor")
        elif height[room] > height[module.room]:
            yield _at(module, imported, f"{room} stands above {module.room}")


def doors(tree: Tree) -> Iterator[str]:
    for module, imported in _pairs(tree):
        library = imported.module.split(".")[0]
        if library in DOORS and not _within(module.name, DOORS[library]):
            yield _at(module, imported, f"the door to {library} is {DOORS[library].replace(' ', ', ')}")


def cycles(tree: Tree) -> Iterator[str]:
    """Modules that import each other around a circle, wherever the imports stand."""
    lines = {(m.name, own_name(i.module)): i.line for m, i in _pairs(tree) if own_name(i.module) in tree}
    below: dict[str, set[str]] = {name: set() for name in tree}
    for name, target in lines:
        below[name].add(str(target))
    while free := [name for name, targets in below.items() if not targets - {name} & set(below)]:
        for name in free:
            del below[name]
        for targets in below.values():
            targets.difference_update(free)
    for name, targets in below.items():  # what is left stands on a circle, or above one
        for target in sorted(targets):
            yield f"{tree[name].path}:{lines[name, target]} imports nasctl.{target}: on or above a circle of imports"


def worker_side(tree: Tree) -> Iterator[str]:
    members = {name for name in tree if _within(name, WORKER_MODULES)}
    packages = {package for name in members for package in _packages(name) if package in tree}
    for module in (tree[name] for name in sorted(members | packages)):
        for imported in module.imports:
            own, library = own_name(imported.module), imported.module.split(".")[0]
            if own is not None and own not in members | packages:
                yield _at(module, imported, "a worker imports worker-side modules only")
            if own is None and library not in WORKER_LIBRARIES | sys.stdlib_module_names:
                yield _at(module, imported, f"a worker has {', '.join(sorted(WORKER_LIBRARIES))} and no more")


def _packages(name: str) -> list[str]:
    """The packages whose `__init__` runs before `name` does."""
    parts = name.split(".")
    return ["__init__", *(".".join(parts[:length]) for length in range(1, len(parts)))]


def torch_free(tree: Tree) -> Iterator[str]:
    for start in sorted(name for name in tree if _within(name, TORCH_FREE)):
        seen, todo = {start}, [start, *_packages(start)]
        while todo:
            module = tree.get(todo.pop())
            for imported in module.imports if module else ():
                own = own_name(imported.module)
                if imported.module.split(".")[0] == "torch" and not imported.late:
                    yield _at(tree[module.name], imported, f"{start} must not load torch")
                elif own and not imported.late and own not in seen:
                    seen.add(own)
                    todo += [own, *(set(_packages(own)) - seen)]


def declared(tree: Tree) -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *optional["ray"], *optional["gpu"], *optional["export"]]
    names = {_plain(re.split(r"[<>=!~\[; ]", line)[0]) for line in lines}
    providers = {**importlib.metadata.packages_distributions(), "pydantic_core": ["pydantic"]}  # two halves of one
    for module, imported in _pairs(tree):
        library = imported.module.split(".")[0]
        if library in sys.stdlib_module_names or library == "nasctl":
            continue
        if not names & {_plain(each) for each in [library, *providers.get(library, [])]}:
            yield _at(module, imported, "no dependency of pyproject.toml provides it")


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names_say_something(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        if vague := VAGUE_NAMES & set(module.name.split(".")):
            yield f"{module.path}: '{', '.join(vague)}' says nothing; name the module after what it does"


def no_star_imports(tree: Tree) -> Iterator[str]:
    for module in tree.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield f"{module.path}:{node.lineno} imports {node.module}.*: say the names"


def nothing_unsafe(tree: Tree) -> Iterator[str]:
    """No pickle, no eval, no `_target_`: files and configuration are data and never run."""
    for module, imported in _pairs(tree):
        if imported.module.split(".")[0] in UNSAFE_MODULES:
            yield _at(module, imported, "it can run code that a file brings along")
    for module in tree.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                yield f"{module.path}:{node.lineno} calls {node.func.id}: text is parsed, never run"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "torch.save", "yaml.load"}:
                yield f"{module.path}:{node.lineno} calls {ast.unparse(node.func)}: it can run what it reads"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "_target_" in node.value:
                yield f"{module.path}:{node.lineno} names _target_: configuration names rows of tables, never code"


def nothing_at_import(tree: Tree) -> Iterator[str]:
    """A module's own level holds definitions: no bare call, no loop, no open file."""
    acting = ast.For | ast.While | ast.With | ast.Delete | ast.Assert
    for module in tree.values():
        for node in module.tree.body:
            calls = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            if calls or isinstance(node, acting):
                yield f"{module.path}:{node.lineno} does something when imported: {ast.unparse(node)[:60]}"


RULES: tuple[Rule, ...] = (
    floors,
    doors,
    cycles,
    worker_side,
    torch_free,
    declared,
    names_say_something,
    no_star_imports,
    nothing_unsafe,
    nothing_at_import,
)


# --- the tree as it is ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule, tree: Tree) -> None:
    complaints = sorted(set(rule(tree)))
    assert not complaints, "\n" + "\n".join(complaints)


def test_configuration_names_no_code() -> None:
    named = [p for folder in ("conf", "sweeps") for p in (ROOT / folder).rglob("*.yaml") if "_target_" in p.read_text()]
    assert not named


# --- each rule can complain -------------------------------------------------------------------------------------------


def made_up(sources: Mapping[str, str]) -> Tree:
    return parse({f"nasctl/{path}": text for path, text in sources.items()})


BROKEN: tuple[tuple[Rule, str, str, str], ...] = (
    (floors, "data/a.py", "import nasctl.tuning.b", "data/a.py:1 imports nasctl.tuning.b: tuning stands above"),
    (floors, "data/a.py", "def f():\n    from nasctl.cli import b", ":2 imports nasctl.cli: cli stands above data"),
    (floors, "rng.py", "if TYPE_CHECKING:\n    import nasctl.specs", ":2 imports nasctl.specs: specs stands above"),
    (floors, "compiler/a.py", "from nasctl import tracking", "nasctl.tracking: tracking is a neighbour of compiler"),
    (floors, "compiler/a.py", "from ..models.b import B", ":1 imports nasctl.models.b: models stands above"),
    (floors, "data/a.py", "import importlib\nimportlib.import_module('nasctl.cli')", ":2 imports nasctl.cli: cli"),
    (floors, "data/a.py", "import nasctl.attic", "there is no such room"),
    (floors, "attic.py", "", "attic stands on no floor"),
    (doors, "tuning/a.py", "def f():\n    import optuna.samplers", "a.py:2 imports optuna.samplers: the door"),
    (doors, "tracking/records.py", "from mlflow import log_metric", "the door to mlflow is tracking.store"),
    (doors, "reports/a.py", "import sqlalchemy as s", "door to sqlalchemy is databases, tracking.store, tuning.study"),
    (worker_side, "data/corpus.py", "import nasctl.data.tokens", "a worker imports worker-side modules only"),
    (worker_side, "data/__init__.py", "from .tokens import split", "a worker imports worker-side modules only"),
    (worker_side, "models/a.py", "def f():\n    import scipy.stats", "models/a.py:2 imports scipy.stats: a worker has"),
    (torch_free, "specs.py", "import torch.nn", "specs.py:1 imports torch.nn: specs must not load torch"),
    (torch_free, "specs.py", "from nasctl.data.corpus import C", "corpus.py:1 imports torch: specs must not load"),
    (declared, "data/sources.py", "import left_pad", "no dependency of pyproject.toml provides it"),
    (names_say_something, "data/utils.py", "", "'utils' says nothing"),
    (names_say_something, "helpers/data.py", "", "'helpers' says nothing"),
    (no_star_imports, "specs.py", "from nasctl.files import *", "specs.py:1 imports nasctl.files.*"),
    (nothing_unsafe, "files.py", "def f():\n    import pickle", "files.py:2 imports pickle"),
    (nothing_unsafe, "files.py", "x = 1\nprint(eval('x'))", "files.py:2 calls eval"),
    (nothing_unsafe, "files.py", "import torch\nx = torch.load('x')", "files.py:2 calls torch.load"),
    (nothing_unsafe, "config.py", "KEY = '_target_'", "config.py:1 names _target_"),
    (nothing_at_import, "files.py", "import logging\nlogging.basicConfig()", "files.py:2 does something when imported"),
    (nothing_at_import, "files.py", "for x in (1, 2):\n    y = x", "files.py:1 does something when imported"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "text", "complaint"), BROKEN)
def test_a_broken_rule_is_named(rule: Rule, path: str, text: str, complaint: str) -> None:
    around = {"data/corpus.py": "import torch", "data/tokens.py": "", "cli/__init__.py": "", "tracking/__init__.py": ""}
    complaints = list(rule(made_up({**around, path: text})))
    assert len(complaints) == 1
    assert complaint in complaints[0]


def test_a_circle_is_named_from_end_to_end() -> None:
    tree = made_up(
        {
            "data/corpus.py": "import nasctl.data.batches",
            "data/batches.py": "def f():\n    from nasctl.data import metrics",
            "data/metrics.py": "if TYPE_CHECKING:\n    from .corpus import Corpus",
            "data/free.py": "import nasctl.files",
            "files.py": "",
        }
    )
    assert [line.partition(":")[0] for line in cycles(tree)] == [
        "nasctl/data/batches.py",
        "nasctl/data/corpus.py",
        "nasctl/data/metrics.py",
    ]


def test_imports_down_and_of_the_own_room_are_fine() -> None:
    tree = made_up(
        {
            "__init__.py": "__version__ = '1'",
            "files.py": "from nasctl.errors import NasctlError\nfrom nasctl import __version__",
            "errors.py": "import os.path",
            "data/corpus.py": "from . import batches\nfrom .batches import rows\nfrom nasctl import files, specs",
            "data/batches.py": "import numpy as np",
            "specs.py": "def f():\n    import torch",
        }
    )
    assert not [complaint for rule in RULES for complaint in rule(tree)]
