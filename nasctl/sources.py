"""What a user names: where pairs come from and what makes vectors of them. Strict and frozen, without defaults.

`experiments.resolve` turns both into digests of their content; no run knows a path or a name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from nasctl.samplers import STRICT, Positive
from nasctl.specs import Metric, Rate, Task

__all__ = ["Columns", "ContextualSpec", "DatasetSpec", "EmbeddingSpec", "StaticSpec"]


@dataclass(frozen=True, config=STRICT)
class Columns:
    """The columns of a user's own table; `id` may be None (then the row's number is its id)."""

    first: str
    second: str
    label: str
    id: str | None


@dataclass(frozen=True, config=STRICT)
class DatasetSpec:
    """A data set of sentence pairs: where it comes from and how it is read.

    `source` is a row of `data.datasets.DATASETS`. `max_tokens` caps each sentence in words; an encoder reads
    `max_pieces` word pieces of a pair, special tokens included. `task` and `metric` may be "auto" for a user's own
    table: they follow from its labels then. `columns`, `train`, `dev`, `test` and the fractions are
    read for `source="table"` only, `pairs` for the generated corpora.
    """

    name: str
    source: str
    task: Task | Literal["auto"]
    metric: Metric | Literal["auto"]
    max_tokens: Positive
    max_pieces: Positive
    columns: Columns | None
    train: str | None
    dev: str | None
    test: str | None
    dev_fraction: Rate
    test_fraction: Rate
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]
    pairs: Positive | None


@dataclass(frozen=True, config=STRICT)
class StaticSpec:
    """Word vectors: `source` "glove" reads a text file, "svd" derives them from the training text.

    `width` is demanded of a file (None: as found) and chosen for "svd". `case`: "auto" looks a token up as it is, then
    in lower case; "cased" and "lower" do one of the two. `window` is that of the co-occurrences counted for "svd".
    """

    name: str
    source: Literal["glove", "svd"]
    file: str | None
    width: Positive | None
    trainable: bool
    oov: Literal["zeros", "gaussian"]
    case: Literal["auto", "cased", "lower"]
    window: Positive | None


@dataclass(frozen=True, config=STRICT)
class ContextualSpec:
    """Vectors from a frozen encoder that reads the pair; what it gives is cached.

    `source` "hub" takes the folder `encoder`, or downloads the model of that name at `revision`; "package" takes the
    folder `encoder` inside an installed Python package, e.g. "package/model". `mix` says which layers are mixed:
    "encoder" is every layer's output, "all" the input embedding (0) too, else their numbers. `encode`: both sentences
    together, or each alone. `special_tokens` says whether a sentence keeps those around it.
    """

    name: str
    source: Literal["hub", "package"]
    encoder: str
    revision: str | None
    mix: Literal["encoder", "all"] | tuple[Annotated[int, Field(ge=0)], ...]
    encode: Literal["joint", "separate"]
    special_tokens: Literal["dropped", "kept"]


EmbeddingSpec = Annotated[StaticSpec | ContextualSpec, Field(discriminator="source")]
