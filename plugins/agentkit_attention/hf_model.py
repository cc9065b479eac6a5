"""Any Hugging Face text model from a name or folder, with the same surface as the shipped MiniLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import MissingExtraError, TargetUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MAX_TOKENS = 512


class HFText:
    """A text model: `.model`, `.tokenizer`, `.inputs(texts)`, `.device`.

    Attributes:
        model: the untouched Hugging Face module, eval mode: with a language-model head where the
            checkpoint has one, else the bare model.
        tokenizer: its own tokenizer, padding on the right.
        device: where the model lives.
    """

    def __init__(self, name: str, device: str = "cpu", model: Any = None, tokenizer: Any = None) -> None:
        self.device = device
        self.model = (model if model is not None else _model(name)).eval().requires_grad_(False).to(device)
        self.tokenizer = tokenizer if tokenizer is not None else _tokenizer(name)
        self.tokenizer.padding_side = "right"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def inputs(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` [rows, tokens] of the texts, cut at 512 tokens."""
        batch = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=MAX_TOKENS
        )
        inputs = {n: batch[n].to(self.device) for n in ("input_ids", "attention_mask")}
        if getattr(self.model.config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = inputs["input_ids"][:, :1]
        return inputs


def _model(name: str) -> Any:
    try:
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
    except ImportError:
        raise MissingExtraError(
            f"hf:{name}: needs transformers; run: pip install 'agentkit-perturb[text]'"
        ) from None
    try:
        config = AutoConfig.from_pretrained(name)
        named = (config.architectures or [""])[0]
        kind = AutoModelForCausalLM if named.endswith(("ForCausalLM", "LMHeadModel")) else AutoModel
        return kind.from_pretrained(name, dtype=torch.float32)
    except OSError as error:
        raise TargetUnavailableError(f"hf:{name}: {str(error).splitlines()[0]}") from None


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)
