"""A small real diffusion transformer that draws scikit-learn's digits: how it is built, trained and sampled.

Flow matching: x_t = (1 - t) x0 + t e, the network predicts e - x0, and Euler steps run from t = 1 to 0.
Diffusers' DiT holds one label embedding per block, each dropping labels on its own, so the state without
any label would never be trained: dropping is switched off there and done once per sample here.

    python -m agentkit_attention.digits_dit PATH.safetensors      trains it (about five CPU minutes)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

NO_LABEL = 10
"""The label that means: any digit."""

SEED = 20_250_610
PHASES = ((1260, 2e-3, 0.0), (900, 1e-3, 0.5))
"""Steps, learning rate and share of dropped labels of the two phases; in the first all labels are dropped."""
BATCH, EMA = 64, 0.999
CHECKPOINT = Path(__file__).parent / "data" / "digits_dit.safetensors"


def build() -> nn.Module:
    """The untrained transformer: 6 layers x 6 heads x 16, 16 tokens of 2 x 2 pixels, 1,233,700 weights."""
    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        raise MissingExtraError(
            "digits-dit: needs diffusers; run: pip install 'agentkit-perturb[diffusion]'"
        ) from None
    model: Any = DiTTransformer2DModel(  # type: ignore[no-untyped-call]  # diffusers is untyped
        num_attention_heads=6, attention_head_dim=16, in_channels=1, out_channels=1, num_layers=6, sample_size=8,
        patch_size=2, num_embeds_ada_norm=10, norm_type="ada_norm_zero",
    )  # fmt: skip
    for module in model.modules():
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return model  # type: ignore[no-any-return]  # diffusers is untyped


def load(device: str, checkpoint: Path = CHECKPOINT) -> nn.Module:
    """The trained transformer, in eval mode, frozen."""
    from safetensors.torch import load_file

    model = build()
    model.load_state_dict(load_file(checkpoint))
    return model.eval().requires_grad_(False).to(device)


def velocity(model: nn.Module, x: Tensor, t: float | Tensor, labels: Tensor) -> Tensor:
    """Predicted e - x0 for images [n, 1, 8, 8] in about [-1, 1] at time t in [0, 1]."""
    times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x)) * 1000
    out: Tensor = model(x, timestep=times, class_labels=labels).sample
    return out


def train(images: Tensor, labels: Tensor, progress: Callable[[int, int], None]) -> dict[str, Tensor]:
    """Weights (an exponential moving average) after both phases.

    Args:
        images: [n, 1, 8, 8] in [0, 1].
        labels: [n] in 0…9.
        progress: told (steps done, steps in all).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = build().train()
    _start_silent(model)
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    g = torch.Generator().manual_seed(SEED)
    x, total, done = images * 2 - 1, sum(steps for steps, _, _ in PHASES), 0
    for number, (steps, rate, dropped) in enumerate(PHASES):
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
        for _ in range(steps):
            pick = torch.randint(len(x), (BATCH,), generator=g)
            x0, y = x[pick], labels[pick].clone()
            lost = torch.rand(BATCH, generator=g) < (dropped if number else 1.0)
            y[lost] = NO_LABEL
            t = torch.randn(BATCH, generator=g).sigmoid()
            noise = torch.randn(x0.shape, generator=g)
            mix = t[:, None, None, None]
            predicted = velocity(model, (1 - mix) * x0 + mix * noise, t, y)
            loss = (predicted - (noise - x0)).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
            optimizer.step()
            done += 1
            keep = min(EMA, done / (done + 20))
            for name, parameter in model.named_parameters():
                average[name].lerp_(parameter.detach(), 1 - keep)
            progress(done, total)
    return average


def _start_silent(model: Any) -> None:
    """Gates and the last projection start at zero, as in the DiT paper (arXiv 2212.09748)."""
    last = [model.proj_out_1, model.proj_out_2]
    for part in [*(b.norm1.linear for b in model.transformer_blocks), *last]:
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)


def main() -> None:
    """Train on all 1,797 digits of scikit-learn and write the checkpoint."""
    from rich.progress import track
    from safetensors.torch import save_file
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    bar = iter(track(range(sum(p[0] for p in PHASES)), "training digits-dit"))
    weights = train(images, torch.from_numpy(targets).long(), lambda done, total: next(bar, None))  # type: ignore[arg-type]
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({n: w.contiguous() for n, w in weights.items()}, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
