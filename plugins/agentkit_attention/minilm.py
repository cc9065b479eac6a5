"""The loaded MiniLM: an untouched Hugging Face model, its tokenizer, and a batch-proof `encode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import MissingExtraError
from agentkit_attention.quiet import no_progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

MAX_TOKENS = 256
BUCKETS = (8, 16, 32, 64, 128, MAX_TOKENS)
"""Row lengths, in tokens, that `encode` pads to."""


class MiniLM:
    """Sentence embeddings by all-MiniLM-L6-v2: mean over unmasked tokens, then L2 normalisation.

    Attributes:
        model: the Hugging Face `BertModel`, in eval mode, float32.
        tokenizer: a `tokenizers.Tokenizer` that truncates at 256 tokens and does not pad.
        device: where the model lives: `cpu`, `cuda:0`.
        dim: 384.
    """

    dim = 384

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        try:
            from tokenizers import Tokenizer
            from transformers import AutoModel
        except ImportError as error:
            raise MissingExtraError(
                f"minilm: needs {error.name}; run: pip install 'agentkit-perturb[text]'"
            ) from None
        self.device = device
        with no_progress_bar():
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def inputs(
        self, texts: Sequence[str], *, length: int | None = None, rows: int | None = None
    ) -> dict[str, Tensor]:
        """Arguments of `model` for these texts, padded on the right.

        Args:
            texts: at least one; each is cut at 256 tokens.
            length: tokens per row; the longest text unless said.
            rows: rows of the batch; further rows repeat the first text. `len(texts)` unless said.

        Returns:
            `input_ids` [rows, length] and a boolean `attention_mask` [rows, 1, length, length] over keys.
            The mask is always spelled out: left to itself the model drops an all-true mask, and a row's
            last bits would then depend on whether its neighbours are padded.
        """
        ids = [e.ids for e in self.tokenizer.encode_batch(list(texts))]
        return self._padded(ids, length or max(map(len, ids)), rows or len(ids))

    def encode(self, texts: Sequence[str], batch_size: int = 16) -> Tensor:
        """Unit-length embeddings of the texts, float32 [n, 384], on `device`.

        Texts are sorted into row lengths of 8, 16, 32, … tokens and every forward has exactly
        `batch_size` rows, so a row's bits do not depend on its neighbours. 16 rows fill a CPU core; more would
        only pad the last batch of each length further.
        """
        ids = [e.ids for e in self.tokenizer.encode_batch(list(texts))]
        result = torch.empty(len(ids), self.dim, device=self.device)
        for length in BUCKETS:
            shorter = max((b for b in BUCKETS if b < length), default=0)
            members = [i for i, row in enumerate(ids) if shorter < len(row) <= length]
            for start in range(0, len(members), batch_size):
                part = members[start : start + batch_size]
                batch = self._padded([ids[i] for i in part], length, batch_size)
                with torch.no_grad():
                    hidden = self.model(**batch).last_hidden_state
                result[torch.tensor(part)] = pooled(hidden, key_mask(batch))[: len(part)]
        return result

    def _padded(self, ids: Sequence[Sequence[int]], length: int, rows: int) -> dict[str, Tensor]:
        full = [*ids, *([ids[0]] * (rows - len(ids)))]
        tokens = torch.zeros(rows, length, dtype=torch.long)
        keep = torch.zeros(rows, length, dtype=torch.bool)
        for r, row in enumerate(full):
            tokens[r, : len(row)] = torch.tensor(row)
            keep[r, : len(row)] = True
        mask = keep[:, None, None, :].expand(rows, 1, length, length)
        return {"input_ids": tokens.to(self.device), "attention_mask": mask.to(self.device)}


def key_mask(inputs: dict[str, Tensor]) -> Tensor:
    """Which tokens are real, boolean [rows, length], from the arguments that `MiniLM.inputs` made."""
    return inputs["attention_mask"][:, 0, 0, :]


def pooled(hidden: Tensor, keep: Tensor) -> Tensor:
    """Mean of `hidden` [rows, length, dim] over the tokens in `keep` [rows, length], to unit length."""
    weight = keep.to(hidden.dtype).unsqueeze(-1)
    mean = (hidden * weight).sum(1) / weight.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1)
