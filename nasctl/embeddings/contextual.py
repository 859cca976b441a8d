"""A frozen encoder: text to word pieces, word pieces to what every layer answers. The door to transformers.

Nothing of it is ever trained: it is in eval mode, has no gradients, and runs before any model does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer

from nasctl.embeddings.features import HALF, Rows
from nasctl.embeddings.spans import Frame, Ids, Input, batches, framed
from nasctl.errors import MachineError, UsageError

__all__ = ["Encoder"]

TOKENS_AT_A_TIME = 4096
"""Of a batch: enough to keep the cores busy, few enough for every layer to be kept."""
WITH_TOKENIZER = "an encoder whose folder holds a tokenizer.json"
REASON = 200
"""Characters of what a library says that are told."""
FAMILY = "an encoder of the BERT family"
WORD = "a"
"""A sentence that every tokenizer knows, to see what is put around one."""


class Encoder:
    """The encoder in a folder; `source` names it in errors."""

    def __init__(self, folder: Path, source: str) -> None:
        """Load it. Raises UsageError for one that nasctl cannot use, MachineError for files that are damaged."""
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.source = source
        self._config, self._tokenizer, self._model = _loaded(folder, source)
        self._typed = int(getattr(self._config, "type_vocab_size", 0) or 0) > 1
        self._check_answers()

    @property
    def layers(self) -> int:
        """Its layers, the input embedding included: 13 of BERT-base."""
        return int(self._config.num_hidden_layers) + 1

    @property
    def width(self) -> int:
        """Of a layer's answer to a token."""
        return int(self._config.hidden_size)

    @property
    def longest(self) -> int:
        """The most tokens of an input."""
        positions = int(getattr(self._config, "max_position_embeddings", 0) or 0)
        return min(positions - self._reserved if positions else 512, int(self._tokenizer.model_max_length))

    @property
    def _reserved(self) -> int:
        """The first positions that no token has: in RoBERTa's family those up to the padding's."""
        tables = (each for name, each in self._model.named_modules() if name.endswith("position_embeddings"))
        paddings = (getattr(table, "padding_idx", None) for table in tables)
        return max((padding + 1 for padding in paddings if padding is not None), default=0)

    @property
    def unknown(self) -> int | None:
        """The piece that stands for text it does not know; None if there is none."""
        number = self._tokenizer.unk_token_id
        return None if number is None else int(number)

    @property
    def training(self) -> bool:
        """Whether any part of it would drop out or learn."""
        modules = any(module.training for module in self._model.modules())
        return modules or any(parameter.requires_grad for parameter in self._model.parameters())

    def pieces(self, texts: Sequence[str]) -> dict[str, Ids]:
        """The word pieces of each text, without special tokens."""
        plain = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
        found = self._tokenizer(list(texts), **plain)["input_ids"] if texts else []
        return {text: tuple(ids) for text, ids in zip(texts, found, strict=True)}

    def frames(self) -> tuple[Frame, Frame]:
        """What the tokenizer puts around one sentence, and around two."""
        return self._frame(WORD), self._frame(WORD, WORD)

    def _frame(self, *sentences: str) -> Frame:
        read = self._tokenizer(*sentences, return_token_type_ids=True)
        ids, types, owners = read["input_ids"], read["token_type_ids"], read.sequence_ids(0)
        special: list[list[int]] = [[] for _ in range(len(sentences) + 1)]
        special_types: list[list[int]] = [[] for _ in special]
        seen = 0
        for piece, kind, owner in zip(ids, types, owners, strict=True):
            if owner is None:
                special[seen].append(piece)
                special_types[seen].append(kind)
            else:
                seen = owner + 1
        return Frame(
            tuple(map(tuple, special)),
            tuple(map(tuple, special_types)),
            tuple(types[owners.index(number)] for number in range(len(sentences))),
        )

    def encode(self, inputs: Sequence[Input]) -> Iterator[Rows]:
        """What every layer answers to the kept tokens: one float16 [kept, L, D] per batch, in the inputs' order.

        Raises UsageError if an answer is too large for float16, and for a piece that the encoder does not have.
        """
        self._check_pieces(inputs)
        for batch in batches(inputs, TOKENS_AT_A_TIME):
            rows = np.concatenate(list(self._answers(batch)))
            with np.errstate(over="ignore"):  # it is told below
                half = rows.astype(HALF)
            if not np.isfinite(half).all():
                raise UsageError(f"{self.source} answers with numbers that a half-precision cache cannot hold")
            yield half

    def _check_answers(self) -> None:
        """Raises UsageError if it does not read a short pair, or answers in another shape than it says."""
        try:
            pieces = self.pieces([WORD])[WORD]
            pair = framed(self._frame(WORD, WORD), (pieces, pieces), "dropped")
            self._check_pieces([pair])
            (found,) = self._answers([pair])
            said = (pair.kept, self.layers, self.width)
        except UsageError:
            raise
        except Exception as error:  # each architecture has its own way not to be one of BERT's
            raise UsageError(f"{self.source} cannot be used: {_words(error)[:REASON]}", FAMILY) from error
        if found.shape != said:
            raise UsageError(
                f"{self.source} answers with {found.shape} numbers, by its config.json with {said}", FAMILY
            )

    def _check_pieces(self, inputs: Sequence[Input]) -> None:
        largest = max((max(each.ids) for each in inputs), default=0)
        known = len(self._model.get_input_embeddings().weight)
        if largest >= known:
            raise UsageError(
                f"{self.source} has {known} word pieces, and its tokenizer gives number {largest}",
                "the tokenizer that it was trained with",
            )

    @torch.inference_mode()
    def _answers(self, batch: Sequence[Input]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        """Each input's kept tokens, float32 [kept, L, D]; all inputs are of one length.

        Nothing is padded: convolutions (ConvBERT) and Fourier transforms (FNet) read padding, whatever the mask says.
        """
        ids = torch.tensor([each.ids for each in batch])  # [B, T]
        typed = {"token_type_ids": torch.tensor([each.types for each in batch])} if self._typed else {}
        asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "output_hidden_states": True}
        hidden = self._model(**asked, **typed).hidden_states
        answers = torch.stack(hidden, 2).float().numpy()  # [B, T, L, D]
        for row, each in enumerate(batch):
            yield np.concatenate([answers[row, begin:end] for begin, end in each.spans])


def _loaded(folder: Path, source: str) -> tuple[Any, Any, Any]:
    """Configuration, tokenizer and weights, once they are known to be usable."""
    config = _from(AutoConfig, folder, source)
    tokenizer = _from(AutoTokenizer, folder, source)
    _check(config, tokenizer, source)
    options = {"config": config, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    model, told = _from(AutoModel, folder, source, **options)
    missing = sorted(name for name in told["missing_keys"] if "pooler" not in name)
    if missing:
        raise UsageError(
            f"{source} lacks {len(missing)} of its weights, {missing[0]} among them", "another folder or revision"
        )
    return config, tokenizer, model.eval().requires_grad_(False)


def _from(kind: Any, folder: Path, source: str, **options: Any) -> Any:
    """What one of transformers' classes makes of the folder; never by code or files from elsewhere.

    Raises UsageError, with the library's reason, if it makes nothing of it, MachineError for damaged weights.
    """
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except safetensors.SafetensorError as error:
        raise MachineError(f"{source}: its weights are damaged ({error})", "bring its files here again") from error
    except Exception as error:  # for files that it cannot use, tokenizers raises Exception itself
        text = _words(error)
        if "trust_remote_code" in text:
            raise UsageError(f"{source} needs code of its own, and nasctl runs none", "take another encoder") from error
        if "ignore_mismatched_sizes" in text:  # transformers speaks of arguments and of a report
            text = "its config.json does not fit its weights"
        raise UsageError(
            f"{source} cannot be loaded: {text[:REASON]}", "an encoder as save_pretrained writes it, with its tokenizer"
        ) from error


def _words(error: Exception) -> str:
    """A library's reason, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _check(config: Any, tokenizer: Any, source: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"{source} is an encoder with a decoder", FAMILY)
    if not tokenizer.is_fast:
        raise UsageError(f"{source} has no fast tokenizer, and nasctl reads with those only", WITH_TOKENIZER)
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        # transformers makes one up for a folder without, and to that one every word is unknown
        raise UsageError(f"{source} has no tokenizer that knows a word", WITH_TOKENIZER)
