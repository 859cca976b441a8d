"""From text to tokens: spaCy's blank English tokenizer, whose rules are those of en_core_web_md. The door to spaCy."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

__all__ = ["tokenise", "tokenizer_version"]


def tokenizer_version() -> str:
    """What the tokens of a text depend on, besides the text; known without importing spaCy."""
    return f"spacy-{version('spacy')}-blank-en"


def tokenise(texts: Iterable[str]) -> list[list[str]]:
    """The tokens of each text, cased, in order.

    Whitespace tokens, which spaCy makes of doubled blanks, are dropped: they are no words, no vectors know them, and a
    cap counted in tokens would be spent on them.
    """
    import spacy  # noqa: PLC0415 - costs seconds, and only the first preparation of a data set needs it

    tokenizer = spacy.blank("en").tokenizer
    return [[token.text for token in document if not token.is_space] for document in map(tokenizer, texts)]
