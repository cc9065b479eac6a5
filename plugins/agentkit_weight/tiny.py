"""A seeded network of about 200 weights, for exact tests and for golden digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from agentkit_weight.branches import PerturbContext
from agentkit_weight.sites import find_sites, weight_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from agentkit_weight.branches import Branch

_RULE_SEED = 4711


def tiny_net(seed: int = 0, *, inputs: int = 6, hidden: int = 16, classes: int = 4) -> nn.Sequential:
    """Two linear layers with tanh between them, 164 weights by default, seeded; no global state is read."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return net.requires_grad_(False)


def tiny_batch(seed: int = 0, *, rows: int = 64, inputs: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs (rows, inputs) and labels (rows,) that one linear rule with noise made; `seed` picks the rows."""
    rule = torch.randn(inputs, classes, generator=torch.Generator().manual_seed(_RULE_SEED))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    noise = torch.randn(rows, classes, generator=generator)
    return x, (x @ rule + 0.5 * noise).argmax(1)


class TinyObjective:
    """Cross-entropy of the tiny network on one seeded batch per step and worker: a `zo.Objective`."""

    def __init__(self, seed: int = 0, rows: int = 32, dtype: torch.dtype = torch.float32) -> None:
        self.net = tiny_net(seed).to(dtype)
        self.sites = find_sites(self.net)
        self.rows, self.seed, self.dtype = rows, seed, dtype
        self._weights: dict[str, Tensor] = {}

    def matrices(self) -> dict[str, Tensor]:
        """The two weight matrices by name."""
        return {name: weight_of(site) for name, site in self.sites.items()}

    def bind(self, weights: Mapping[str, Tensor]) -> None:
        """Evaluate with these matrices from now on."""
        self._weights = {f"{name}.weight": w for name, w in weights.items()}

    def value(self, step: int, worker: int, branches: Mapping[str, Branch]) -> tuple[Tensor, int]:
        """Mean cross-entropy with the branches added, and the number of rows."""
        x, labels = tiny_batch(self.seed + 1000 * worker + step, rows=self.rows)
        weights = {name: w.to(self.dtype) for name, w in self._weights.items()}
        with PerturbContext(self.sites) as context:
            context.put("probe", branches)
            logits = torch.func.functional_call(self.net, weights, (x.to(self.dtype),))
        return functional.cross_entropy(logits, labels), self.rows
