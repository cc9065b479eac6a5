"""Largest Hessian eigenvalue and trace: ours against two peers, equal values to 1e-3, CPU time at most theirs.

    python benchmarks/weight_sharpness.py [--rounds 3]

Peers: pip install --no-deps hessian-eigenthings==1.0.0a5; pip install curvlinops-for-pytorch==3.0.1. A random BERT of 2
blocks and width 384 (3.5 million weights in 12 matrices), 4 x 32 tokens, math attention on all sides. All sides do
20 Lanczos products and 32 trace probes; ours may stop Lanczos early at its residual.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from weight_common import VOCABULARY, interleaved, ratio, small_encoder, verdict

from agentkit_weight.hessian import Hessian, hutchinson, lanczos
from agentkit_weight.sites import find_sites

PRODUCTS, PROBES = 20, 32


class Classifier(nn.Module):
    """Ids to logits; only the blocks' 12 matrices are parameters with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = small_encoder()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("head", torch.randn(5, 384, generator=generator))
        chosen = {f"encoder.{n}.weight" for n in find_sites(self.encoder)}
        self.names = [n for n, _ in self.named_parameters() if n in chosen]  # the peers' order
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in chosen)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (b, 5)."""
        return self.encoder(input_ids=ids).last_hidden_state.mean(1) @ self.head.T


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1000, VOCABULARY, (4, 32), generator=generator), torch.tensor([0, 1, 2, 3])


def our_hessian(model: Classifier) -> Hessian:
    """Our operator on the same matrices."""
    ids, labels = batch()
    parameters = dict(model.named_parameters())
    return Hessian(
        lambda w: functional.cross_entropy(torch.func.functional_call(model, dict(w), (ids,)), labels),
        {n: parameters[n].detach() for n in model.names},
    )


def ours(model: Classifier) -> tuple[float, float]:
    """Eigenvalue and trace by ours."""
    hessian = our_hessian(model)
    generator = torch.Generator().manual_seed(0)
    top = lanczos(hessian, torch.randn(hessian.size, generator=generator), PRODUCTS)
    return top.value, hutchinson(hessian, hessian.size, PROBES, generator, torch.float32).value


def eigenthings(model: Classifier) -> tuple[float, float]:
    """Eigenvalue and trace by hessian-eigenthings."""
    import hessian_eigenthings as he

    operator = eigenthings_operator(model)
    top = he.lanczos(operator, k=1, max_iter=PRODUCTS, which="LA", seed=0)
    return float(top.eigenvalues[0]), he.hutchinson(operator, num_samples=PROBES, seed=0).estimate


def eigenthings_operator(model: Classifier) -> Any:
    """Their operator."""
    import hessian_eigenthings as he

    loss = he.supervised_loss(functional.cross_entropy)
    return he.HessianOperator(model, [batch()], loss, param_filter=lambda name, p: name in model.names)


def curvlinops_pair(model: Classifier) -> tuple[float, float]:
    """Eigenvalue (scipy's ARPACK on their operator) and trace by curvlinops."""
    import curvlinops
    from scipy.sparse.linalg import eigsh

    parameters = dict(model.named_parameters())
    operator = curvlinops.HessianLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        [parameters[n] for n in model.names],
        [batch()],
        check_deterministic=False,
    )
    top = eigsh(
        operator.to_scipy(),
        k=1,
        which="LA",
        ncv=PRODUCTS,
        maxiter=PRODUCTS,
        tol=1e-3,
        return_eigenvectors=False,
    )
    return float(top[0]), float(curvlinops.hutchinson_trace(operator, PROBES))


def same_probes(model: Classifier) -> bool:
    """The trace on the peer's own probes through our products: products, not luck, are compared."""
    import hessian_eigenthings as he

    mine = our_hessian(model)
    theirs = eigenthings_operator(model)
    through = he.LambdaOperator(mine, mine.size, device=torch.device("cpu"), dtype=torch.float32)
    a = he.hutchinson(through, num_samples=8, seed=1).estimate
    b = he.hutchinson(theirs, num_samples=8, seed=1).estimate
    print(f"trace on the same 8 probes: ours {a:.6f}, hessian-eigenthings {b:.6f}")
    return verdict("relative difference of the trace, same probes", abs(a / b - 1), 1e-3)


def main() -> None:
    """Values and times; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model = Classifier()
    calls: dict[str, Any] = {"ours": lambda: ours(model)}
    good = []
    with sdpa_kernel(SDPBackend.MATH):
        mine = ours(model)
        print(f"{'ours':22s} lambda_max {mine[0]:.6f}   trace {mine[1]:.4f}")
        for name, call in (("hessian-eigenthings", eigenthings), ("curvlinops", curvlinops_pair)):
            try:
                theirs = call(model)
            except ImportError as error:
                print(f"{name}: not installed ({error})")
                continue
            calls[name] = lambda call=call: call(model)
            print(f"{name:22s} lambda_max {theirs[0]:.6f}   trace {theirs[1]:.4f} (other probes)")
            good.append(
                verdict(f"lambda_max: relative difference to {name}", abs(mine[0] / theirs[0] - 1), 1e-3)
            )
        if "hessian-eigenthings" in calls:
            good.append(same_probes(model))
        times = interleaved(calls, rounds)
    for name, seconds in times.items():
        print(f"{name:22s} {min(seconds):8.2f} s for both")
        if name != "ours":
            good.append(verdict(f"time: ours / {name}", ratio(times["ours"], seconds), 1.0))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
