"""Overrides that nothing reads, the others being what they are: refused, or they would seem to count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hydra.core.override_parser.types import Override

from nasctl.config.settings import Settings
from nasctl.errors import UsageError
from nasctl.files import path_of
from nasctl.models import MODELS
from nasctl.sources import ContextualSpec

__all__ = ["check"]


def check(settings: Settings, overrides: Iterable[Override]) -> None:
    """Raises UsageError for an override whose value these settings leave unread."""
    for each in overrides:
        key = each.key_or_group
        if key in UNREAD and UNREAD[key][0](settings):
            raise UsageError(f"{each.input_line}: {UNREAD[key][1]}", f"leave {key}= away")


def _dev_has_a_file(settings: Settings) -> bool:
    return settings.dataset.dev is not None and settings.dataset.dev_fraction > 0


def _test_has_a_file(settings: Settings) -> bool:
    return settings.dataset.test is not None and settings.dataset.test_fraction > 0


def _nothing_recurs(settings: Settings) -> bool:
    return not MODELS[settings.model.name].layers


def _encoder_is_a_folder(settings: Settings) -> bool:
    asked = settings.embedding
    return isinstance(asked, ContextualSpec) and asked.source == "hub" and path_of(asked.encoder).is_dir()


def _words_are_read(settings: Settings) -> bool:
    return not isinstance(settings.embedding, ContextualSpec)


def _pieces_are_read(settings: Settings) -> bool:
    return isinstance(settings.embedding, ContextualSpec)


UNREAD: Mapping[str, tuple[Callable[[Settings], bool], str]] = {
    "dataset.dev_fraction": (_dev_has_a_file, "the dev data are those of dataset.dev"),
    "dataset.test_fraction": (_test_has_a_file, "the test data are those of dataset.test"),
    "dataset.max_pieces": (_words_are_read, "word vectors read words, dataset.max_tokens of each sentence"),
    "dataset.max_tokens": (_pieces_are_read, "an encoder reads word pieces, dataset.max_pieces of each pair"),
    "embedding.revision": (_encoder_is_a_folder, "the encoder is a folder, which has one state and no revisions"),
    "training.hidden": (_nothing_recurs, "the model has no recurrent layer"),
    "training.variational_dropout": (_nothing_recurs, "the model has no recurrent layer"),
}
"""When the value of a key is not read, and why."""
