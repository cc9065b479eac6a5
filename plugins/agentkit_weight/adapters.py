"""LoRA factors, their branches, and PEFT's file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from agentkit_weight.branches import LowRank
from agentkit_weight.errors import DataError
from agentkit_weight.sites import weight_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

Factors = dict[str, "tuple[Tensor, Tensor]"]
"""Per site: A (r, n) and B (m, r)."""

HEAD = "head."
"""Prefix of the tagging head's tensors in an adapter file; PEFT passes over them."""


@dataclass
class Adapter:
    """y += s B A x at every site, s = alpha / r (LoRA, Hu et al. 2021).

    Attributes:
        factors: A (r, n) and B (m, r) per site, float32, trainable.
        alpha: numerator of the scale.
        r: rank.
    """

    factors: Factors
    alpha: float
    r: int

    @classmethod
    def fresh(
        cls, sites: Mapping[str, nn.Module], r: int, alpha: float, generator: torch.Generator
    ) -> Adapter:
        """A normal with variance 1/n, B zero: the adapted model is the model itself."""
        factors: Factors = {}
        for name, site in sites.items():
            weight = weight_of(site)
            m, n = weight.shape
            a = (torch.randn(r, n, generator=generator) / n**0.5).to(weight.device)
            b = torch.zeros(m, r, device=weight.device)
            factors[name] = (a.requires_grad_(True), b.requires_grad_(True))
        return cls(factors, alpha, r)

    @property
    def scale(self) -> float:
        """S."""
        return self.alpha / self.r

    def parameters(self) -> list[Tensor]:
        """A and B of every site, in site order."""
        return [factor for pair in self.factors.values() for factor in pair]

    def branches(self, offset: Factors | None = None) -> dict[str, LowRank]:
        """The adapter as branches; `offset` is added to A and B (new tensors, the factors are not written)."""
        if offset is None:
            return {name: LowRank(b, a, self.scale) for name, (a, b) in self.factors.items()}
        return {
            name: LowRank(b + offset[name][1], a + offset[name][0], self.scale)
            for name, (a, b) in self.factors.items()
        }

    def detached(self) -> Adapter:
        """A copy that no optimizer will change."""
        copies = {name: (a.detach().clone(), b.detach().clone()) for name, (a, b) in self.factors.items()}
        return Adapter(copies, self.alpha, self.r)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors under PEFT's names, the scale multiplied into B, so that alpha = r in the file."""
        out = {}
        for name, (a, b) in self.factors.items():
            out[f"base_model.model.{name}.lora_A.weight"] = a.detach()
            out[f"base_model.model.{name}.lora_B.weight"] = b.detach() * self.scale
        return out

    def peft_config(self) -> dict[str, Any]:
        """`adapter_config.json` for PEFT."""
        return {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": None,
            "r": self.r,
            "lora_alpha": self.r,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "target_modules": sorted(self.factors),
        }


def read_adapter(content: bytes, alpha: float | None = None) -> tuple[Adapter, dict[str, Tensor]]:
    """The adapter in a safetensors file of PEFT's format, and the tagging head beside it (`head.*`), if any.

    Args:
        content: bytes of `adapter_model.safetensors`.
        alpha: `lora_alpha` of its config; r unless said, as in the files this plugin writes.

    Raises:
        DataError: it is no safetensors file, or holds no LoRA factors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DataError(f"this is no adapter file ({error}); save it in PEFT's LoRA format") from None
    start, a_end, b_end = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
    sites = sorted(n.removeprefix(start).removesuffix(a_end) for n in tensors if n.endswith(a_end))
    if not sites:
        raise DataError("the adapter file holds no lora_A tensors; save it in PEFT's LoRA format")
    factors = {s: (tensors[f"{start}{s}{a_end}"], tensors[f"{start}{s}{b_end}"]) for s in sites}
    r = int(factors[sites[0]][0].shape[0])
    head = {n.removeprefix(HEAD): t for n, t in tensors.items() if n.startswith(HEAD)}
    return Adapter(factors, r if alpha is None else alpha, r), head
