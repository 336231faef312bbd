"""A model's own tokenizer, from an artifact: texts to one padded batch of tokens."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import tokenizers

from harness.artifacts.files import truncation_side
from harness.errors import unknown_name
from harness.runtimes.base import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.artifacts.manifest import Artifact


class Tokenizer:
    """Truncates to the model's maximum, pads to the batch's longest, puts the model's prompts before.

    A text without tokens (an empty one, where the model has no special tokens) is read as one padding token.

    With `length`, every batch is padded to that many tokens, and a longer text is refused.
    """

    def __init__(self, artifact: Artifact, length: int | None = None) -> None:
        self._length = length
        manifest = artifact.manifest
        self._prompts = manifest.prompts
        self._file = str(artifact.tokenizer)
        self._padded = tokenizers.Tokenizer.from_file(self._file)
        side = truncation_side(self._padded)
        self._may_be_empty = self._padded.num_special_tokens_to_add(is_pair=False) == 0
        self._pad_id = manifest.pad_id
        self._padded.enable_truncation(manifest.max_length, direction=side)
        self._padded.enable_padding(length=length, pad_id=manifest.pad_id, pad_token=manifest.pad_token)

    def tokenize(self, texts: Sequence[str], *, prompt: str = "default") -> Tokens:
        """One padded batch; an unpaired surrogate is read as U+FFFD.

        Raises:
            TypeError: a text is no string.
            ValueError: unknown prompt, or a text longer than the length that batches are padded to.
        """
        prefix = self.prefix(prompt)
        if len(texts) == 0:
            return Tokens(np.empty((0, 0), dtype=np.int64), np.empty((0, 0), dtype=np.int64))
        for text in texts:  # tokenizers would take a list for a text and its pair
            if not isinstance(text, str):
                raise TypeError(f"texts must be strings, not {type(text).__name__}")
        batch = [prefix + text for text in texts] if prefix else list(texts)
        try:
            encodings = self._padded.encode_batch_fast(batch)
        except TypeError:  # it refuses unpaired surrogates
            encodings = self._padded.encode_batch_fast([_well_formed(text) for text in batch])
        if self._length is not None and (longest := max(len(e.ids) for e in encodings)) > self._length:
            raise ValueError(
                f"a text of {longest} tokens: the graph is fixed to {self._length}; cut it before"
            )
        tokens = Tokens(
            np.array([e.ids for e in encodings], dtype=np.int64),
            np.array([e.attention_mask for e in encodings], dtype=np.int64),
        )
        return self._none_empty(tokens) if self._may_be_empty else tokens

    def _none_empty(self, tokens: Tokens) -> Tokens:
        """A batch whose every text has a token: where none is, the first of its padding is one."""
        ids, mask = tokens
        if ids.shape[1] == 0:
            ids, mask = np.full((len(ids), 1), self._pad_id, np.int64), np.zeros((len(ids), 1), np.int64)
        mask[~mask.any(axis=1), 0] = 1
        return Tokens(ids, mask)

    def prefix(self, prompt: str) -> str:
        """What a prompt puts before a text.

        Raises:
            ValueError: unknown prompt.
        """
        if prompt not in self._prompts:
            raise ValueError(unknown_name("prompt", prompt, list(self._prompts)))
        return self._prompts[prompt]

    @cached_property
    def _whole(self) -> tokenizers.Tokenizer:
        """Neither truncates nor pads; loaded only by those who count."""
        whole = tokenizers.Tokenizer.from_file(self._file)
        whole.no_truncation()
        return whole

    def count(self, text: str, *, prompt: str = "default") -> int:
        """Tokens of `text`, special tokens and prompt included, not truncated; of one without any 0.

        Raises:
            ValueError: unknown prompt.
        """
        return len(self._whole.encode(_well_formed(self.prefix(prompt) + text)).ids)

    def token(self, token_id: int) -> str | None:
        """The token of an id; None where the vocabulary has none."""
        in_reach = 0 <= token_id < 2**32  # what the tokenizer's own ids are
        token: str | None = self._whole.id_to_token(token_id) if in_reach else None
        return token

    def ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, in characters, special tokens and prompt left out."""
        prompt = self._prompts["default"]
        encoding = self._whole.encode(_well_formed(prompt + text))
        spans = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        return [end - len(prompt) for (_, end), special in spans if not special and end > len(prompt)]


def _well_formed(text: str) -> str:
    """The text with each unpaired surrogate as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
