"""IBP, CROWN and alpha-CROWN on an MLP 64-64-64-10: our bounds against auto_LiRPA's, and the CPU time of both.

    python benchmarks/noise_bounds.py

auto_LiRPA's index release does not resolve with today's torch; put its source tree on PYTHONPATH
(https://github.com/Verified-Intelligence/auto_LiRPA). Left out and named when it is not importable. Bars:
equal widths of IBP and CROWN to 1e-4, CROWN in at most the same time, and (twenty steps each) alpha-CROWN's mean width at most a hundredth wider. One thread, best of interleaved rounds.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from agentkit_input_noise import bounds
from agentkit_input_noise.bounds import InputBall
from agentkit_input_noise.crown import alpha_crown, crown

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Bounder = Callable[[], tuple[Tensor, Tensor]]

EPS, ITEMS, ROUNDS = 0.02, 32, 7
TOLERANCE = 1e-4
ALPHA, WIDER = "alpha-CROWN", 1.01


def network() -> nn.Sequential:
    """Fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        ).eval()


def ours(net: nn.Sequential, x: Tensor) -> dict[str, Bounder]:
    """Of every output."""
    ball = InputBall(x, EPS, "inf")
    every = torch.eye(10).expand(ITEMS, 10, 10)
    return {
        "IBP": lambda: bounds.ibp(net, ball)[-1],
        "CROWN": lambda: crown(net, ball),
        ALPHA: lambda: alpha_crown(net, ball, every),
    }


def auto_lirpa(net: nn.Sequential, x: Tensor) -> dict[str, Bounder]:
    """The same through auto_LiRPA, with its adaptive lower line."""
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    model: Any = BoundedModule(net, torch.empty_like(x), bound_opts={"relu": "adaptive"}, device="cpu")
    bounded = BoundedTensor(x, PerturbationLpNorm(norm=np.inf, eps=EPS))

    def run(method: str) -> Bounder:
        def bound() -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                low, high = model.compute_bounds(x=(bounded,), method=method)
            return low, high

        return bound

    def search() -> tuple[Tensor, Tensor]:
        model.set_bound_opts({"optimize_bound_args": {"iteration": 20}})
        found: tuple[Tensor, Tensor] = model.compute_bounds(x=(bounded,), method="alpha-CROWN")
        return found

    return {"IBP": run("IBP"), "CROWN": run("CROWN"), ALPHA: search}


def main() -> None:
    """Print one line a method; exit 1 when a bar is missed."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    net, x = network(), torch.rand((ITEMS, 64), generator=torch.Generator().manual_seed(1))
    libraries = {"ours": ours(net, x)}
    try:
        libraries["auto_LiRPA"] = auto_lirpa(net, x)
    except ImportError as error:
        print(f"auto_LiRPA is not importable here ({error}); left out")
    missed = []
    for method in ("IBP", "CROWN", ALPHA):
        best, found = dict.fromkeys(libraries, np.inf), {}
        for _ in range(ROUNDS):
            for name, methods in libraries.items():
                start = time.process_time()
                found[name] = methods[method]()
                best[name] = min(best[name], time.process_time() - start)
        for name, (low, high) in found.items():
            print(
                f"{method:12s}{name:11s} mean width {float((high - low).mean()):.4f}   {1e3 * best[name]:.2f} CPU ms"
            )
        if "auto_LiRPA" in found:
            off = max(
                float((a - b).abs().max()) for a, b in zip(found["ours"], found["auto_LiRPA"], strict=True)
            )
            ratio = best["ours"] / best["auto_LiRPA"]
            print(f"{method:12s}largest difference {off:.1e}, time {ratio:.2f} of auto_LiRPA's")
            if method == ALPHA:
                widths = {name: float((high - low).mean()) for name, (low, high) in found.items()}
                missed += [f"{method} wider"] if widths["ours"] > WIDER * widths["auto_LiRPA"] else []
                continue
            missed += [f"{method} off by {off:.1e}"] if off > TOLERANCE else []
            missed += [f"CROWN time {ratio:.2f}"] if method == "CROWN" and ratio > 1 else []
    print("bars missed: " + "; ".join(missed) if missed else "all bars reached")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
