"""Any Hugging Face model from a name or folder; text models have the surface of the shipped MiniLM."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import MissingExtraError, TargetUnavailableError
from agentkit_attention.quiet import no_progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


MAX_TOKENS = 512


class HFModel:
    """A model that reads no text (images, sound): `.model`, `.device`; its heads can be listed.

    Attributes:
        model: the untouched Hugging Face module, eval mode.
        device: where the model lives.
    """

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.device = device
        self.model: Any = model.eval().requires_grad_(False).to(device)


class HFText(HFModel):
    """A text model: `.model`, `.tokenizer`, `.inputs(texts)`, `.device`.

    Attributes:
        model: with a language-model head where the checkpoint has one, else the bare model.
        tokenizer: its own tokenizer, padding on the right.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu") -> None:
        super().__init__(model, device)
        self.tokenizer = tokenizer
        self.tokenizer.padding_side = "right"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token

    def inputs(self, texts: Sequence[str]) -> dict[str, Any]:
        """`input_ids` and `attention_mask` [rows, tokens] of the texts, cut at 512 tokens; no cache is kept."""
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or MAX_TOKENS
        batch = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=min(longest, MAX_TOKENS),
        )
        inputs: dict[str, Any] = {n: batch[n].to(self.device) for n in ("input_ids", "attention_mask")}
        if getattr(self.model.config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = inputs["input_ids"][:, :1]
        if "use_cache" in inspect.signature(type(self.model).forward).parameters:
            inputs["use_cache"] = False
        return inputs


def load_hf(name: str, device: str) -> HFModel:
    """The model of a folder or of a name in the local cache, with its tokenizer where it reads text.

    Raises:
        MissingExtraError: transformers is absent. TargetUnavailableError: it cannot be loaded, with the reason.
    """
    try:
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtraError(
            f"hf:{name}: needs transformers; run: pip install 'agentkit-perturb[text]'"
        ) from None
    with _said_in_one_line(f"hf:{name}"), no_progress_bar():
        config = AutoConfig.from_pretrained(name, local_files_only=True)
        named = (config.architectures or [""])[0]
        kind = AutoModelForCausalLM if named.endswith(("ForCausalLM", "LMHeadModel")) else AutoModel
        model = kind.from_pretrained(name, dtype=torch.float32, local_files_only=True)
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        return HFModel(model, device)
    with _said_in_one_line(f"hf:{name}: its tokenizer"):
        return HFText(model, AutoTokenizer.from_pretrained(name, local_files_only=True), device)


def load_gguf(file: Path, device: str) -> HFText:
    """A text model whose weights and tokenizer lie in one GGUF file, dequantised to float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, source = str(file.parent), {"gguf_file": file.name, "local_files_only": True}
    with _said_in_one_line(str(file)), no_progress_bar():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **source)
        tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    return HFText(model, tokenizer, device)


@contextlib.contextmanager
def _said_in_one_line(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise TargetUnavailableError(
            f"{what} cannot be loaded: {' '.join(str(error).split())[:400]}"
        ) from None
