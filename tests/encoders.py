"""A tiny encoder of the BERT family with random weights, made where a test stands: no network, no download."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from nasctl.data.pairs import Pair, Part
from nasctl.sources import ContextualSpec

LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *".,!?'-()0123456789",
    *("cat", "dog", "##s", "run", "##ning", "the", "不", *(f"w{number}" for number in range(1, 20))),
]

LAYERS, WIDTH, LONGEST = 3, 8, 64
"""Of the tiny encoder, its input embedding not counted."""
SIZES = {"layers": LAYERS, "width": WIDTH, "heads": 2, "inner": 16}


@functools.cache
def _made(seed: int, layers: int, width: int, heads: int, inner: int) -> tempfile.TemporaryDirectory[str]:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tempfile.TemporaryDirectory(prefix="nasctl-encoder-")
    vocabulary = Path(folder.name) / "vocab.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in VOCABULARY), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=LONGEST,
        initializer_range=0.5 if width == WIDTH else 0.02,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder.name)
    tokenizer = BertTokenizer(str(vocabulary), do_lower_case=True, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder.name)
    return folder


def tiny_encoder(folder: Path, *, seed: int = 0, **sizes: int) -> Path:
    """The encoder of that seed, copied to the new `folder`; `sizes` as in SIZES make it another one."""
    made = {**SIZES, **sizes}
    shutil.copytree(_made(seed, made["layers"], made["width"], made["heads"], made["inner"]).name, folder)
    return folder


def of_family(folder: Path, kind: str, **changes: object) -> Path:
    """An encoder of the family `kind` of transformers ("Roberta"), random, with the tiny one's tokenizer."""
    import torch
    import transformers

    fields = {"vocab_size": len(VOCABULARY), "hidden_size": WIDTH, "num_hidden_layers": LAYERS}
    fields |= {"intermediate_size": 16, "max_position_embeddings": LONGEST, "initializer_range": 0.5}
    config = getattr(transformers, f"{kind}Config")(**{**fields, **changes})
    tiny_encoder(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def spec(folder: Path, **changes: object) -> ContextualSpec:
    """A folder's encoder as it is asked for, both sentences together, its layers mixed."""
    fields: dict[str, object] = {
        "name": "tiny",
        "source": "hub",
        "encoder": str(folder),
        "revision": None,
        "mix": "encoder",
        "encode": "joint",
        "special_tokens": "dropped",
    }
    return ContextualSpec(**{**fields, **changes})  # type: ignore[arg-type]


def part(*pairs: tuple[str, str]) -> Part:
    """A split of these pairs, all with the label 1."""
    made = tuple(Pair(str(number), first, second, "1") for number, (first, second) in enumerate(pairs))
    return Part(made, "made", tuple(range(1, len(made) + 1)))
