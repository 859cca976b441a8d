from __future__ import annotations

import json

import pytest

from nasctl.data.tokens import tokenise, tokenizer_version


def test_fifty_sentences_have_the_tokens_they_always_had(checkout):
    golden = json.loads((checkout / "tests/golden/tokens.json").read_text(encoding="utf-8"))
    assert len(golden) == 50
    for (text, tokens), found in zip(golden, tokenise(text for text, _ in golden), strict=True):
        assert found == tokens, text


@pytest.mark.parametrize("text", ["", " ", "\t", "  \n ", "\u00a0"])
def test_blanks_are_no_tokens(text):
    assert tokenise([text]) == [[]]


def test_tokens_put_together_are_the_text_without_its_blanks(checkout):
    golden = json.loads((checkout / "tests/golden/tokens.json").read_text(encoding="utf-8"))
    for text, tokens in golden:
        assert "".join(tokens).replace(" ", "") == "".join(text.split())


def test_the_version_names_the_tokenizer():
    assert tokenizer_version().startswith("spacy-3.")
