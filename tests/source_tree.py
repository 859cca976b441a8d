"""The modules of nasctl as syntax trees, with every import of each, wherever it stands.

At the top, in a function, under TYPE_CHECKING, or as `importlib.import_module("literal")`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One import: `module` is dotted and absolute, `late` when it runs after the module itself was imported."""

    module: str
    line: int
    late: bool


@dataclass(frozen=True)
class Module:
    """One parsed file; `name` is dotted and without nasctl ("data.corpus"), a package goes by its own name."""

    name: str
    path: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


Tree = Mapping[str, Module]


def read_tree(root: Path) -> Tree:
    return parse({str(path.relative_to(root)): path.read_text("utf-8") for path in (root / "nasctl").rglob("*.py")})


def parse(sources: Mapping[str, str]) -> Tree:
    """Path (from the repository's root) -> text, into name -> Module."""
    names = {_name(path): path for path in sources}
    tree = {}
    for name, path in sorted(names.items()):
        syntax = ast.parse(sources[path], path)
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        found = tuple(sorted(_imports(syntax, package, frozenset(names)), key=lambda each: each.line))
        tree[name] = Module(name, path, syntax, found)
    return tree


def _name(path: str) -> str:
    """nasctl/data/corpus.py -> data.corpus; nasctl/data/__init__.py -> data; nasctl/__init__.py -> __init__."""
    parts = Path(path).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def _imports(syntax: ast.Module, package: str, known: frozenset[str]) -> Iterator[Import]:
    for node, late in _walk(syntax, late=False):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # a relative import: climb from the package
                above = package.split(".") if package not in {"", "__init__"} else []
                above = above[: len(above) - node.level + 1]
                base = ".".join(["nasctl", *above, *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                is_module = deeper.startswith("nasctl.") and deeper.removeprefix("nasctl.") in known
                yield Import(deeper if is_module else base, node.lineno, late)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "import_module"}:
            literals = (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
            yield from (Import(str(text), node.lineno, late) for text in literals)


def _walk(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, late
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        yield from _walk(child, late=late or deferred or typing_only)


def own_name(module: str) -> str | None:
    """nasctl.data.corpus -> data.corpus, nasctl -> __init__, anything else -> None."""
    if module == "nasctl":
        return "__init__"
    return module.removeprefix("nasctl.") if module.startswith("nasctl.") else None
