"""Episodes under perturbed observations or late actions: the kernel of `noise.rl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from agentkit import BASELINE, Measurements
from agentkit.errors import TargetError
from agentkit_input_noise import curve_files
from agentkit_input_noise.errors import NotDifferentiableError
from agentkit_input_noise.needs import POLICIES, fetch
from agentkit_input_noise.rl_tool import CONTROL, PolicyNoise
from agentkit_input_noise.sweep import wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from agentkit import Context, Metric, Unit

METRICS = ("return", "action_flip")
BOXES = ("obs_noise", CONTROL, "obs_attack")
"""Kinds whose strength is the half-width of a box; that of the others is a share of steps or readings."""


class Episodes(NamedTuple):
    """Means over a unit's episodes in one condition, in the order of `METRICS`, and the measured strength.

    Attributes:
        mean_return: steps until the end.
        action_flip: share of steps with another action than without the perturbation.
        strength: largest change of an observation in boxes, or share of steps or readings that were hit.
    """

    mean_return: float
    action_flip: float
    strength: float


def measure(
    params: PolicyNoise, units: Sequence[Unit], ctx: Context, metrics: Sequence[Metric]
) -> Measurements:
    """All conditions on all units; see the tool's docstring."""
    target = fetch(ctx, params.target, POLICIES)
    kinds = kinds_of(params)
    cells = wanted(kinds, params.strengths, ctx)
    conditions = [BASELINE, *cells]
    values = np.zeros((len(METRICS), len(units), len(conditions)))
    environment = target.environment(params.episodes)
    measured: dict[str, list[float]] = {}
    for u, unit in enumerate(units):
        policy = target.policy(unit.rng("policy"))
        for c, (kind, strength) in enumerate([("obs_noise", 0.0), *cells.values()]):
            found = roll(policy, environment, target, unit, kind, strength)
            values[:, u, c] = found[: len(METRICS)]
            measured.setdefault(conditions[c], []).append(found.strength)
        ctx.progress(u + 1, len(units))
    table = Measurements.from_arrays(units, conditions, dict(zip(METRICS, values, strict=True)))
    draw(ctx, params, table, metrics, units)
    if ctx.conditions is None:
        ctx.artifact("strength.json", [
            {"condition": name, "requested": strength, "measured": float(np.mean(measured[name]))}
            for name, (_, strength) in cells.items()
        ])  # fmt: skip
    return table


def kinds_of(params: PolicyNoise) -> tuple[str, ...]:
    """The kinds asked for, and the matched control of the attack where it was."""
    needs = "obs_attack" in params.kinds and CONTROL not in params.kinds
    return (*params.kinds, *([CONTROL] if needs else []))


def draw(
    ctx: curve_files.Files,
    params: PolicyNoise,
    table: Measurements,
    metrics: Sequence[Metric],
    units: Sequence[Unit],
) -> None:
    """Store curves and claims of a whole exploration."""
    kinds = kinds_of(params)
    controls = {"obs_attack": CONTROL} if "obs_attack" in kinds else {}
    curve_files.write(ctx, table, units, curve_files.Sweep(kinds, params.strengths, list(metrics), controls))


def roll(policy: Any, environment: Any, target: Any, unit: Unit, kind: str, strength: float) -> Episodes:
    """Run all episodes to their first end. Same starts in every condition; a kind's coins do not depend on strength."""
    observations, _ = environment.reset(seed=int(unit.rng("starts").integers(1 << 31)))
    rng = unit.rng(f"noise.rl.{kind}")
    scale = np.asarray(target.scale)
    episodes = len(observations)
    alive, steps, flips = np.ones(episodes, dtype=np.bool_), np.zeros(episodes), 0
    seen = np.asarray(observations, dtype=np.float64)
    before, felt = None, kind != "obs_attack"
    measured: list[float] = []
    for _ in range(target.steps):
        true = np.asarray(observations, dtype=np.float64)
        coins = rng.random(true.shape)
        seen = observed(policy, true, seen, kind, strength * scale, strength, coins)
        felt = felt or bool((seen != true).any())
        measured.append(
            float((np.abs(seen - true) / scale)[alive].max())
            if kind in BOXES
            else float((coins[alive, : 1 if kind == "action_delay" else None] < strength).mean())
        )
        clean, actions = chosen(policy, true), chosen(policy, seen)
        if kind == "action_delay" and before is not None:
            actions = np.where(coins[:, 0] < strength, before, actions)
        before = actions
        flips += int((alive & (actions != clean)).sum())
        observations, _, fell, late, _ = environment.step(actions)
        steps += alive
        alive &= ~(fell | late)
        if not alive.any():
            break
    if not felt:
        raise NotDifferentiableError(
            "the gradient is exactly zero for every observation, so obs_attack moves nothing: the policy rounds or "
            "compares; use obs_noise or obs_sign"
        )
    reached = max(measured) if kind in BOXES else float(np.mean(measured))
    return Episodes(float(steps.mean()), flips / float(steps.sum()), reached)


def observed(
    policy: Any,
    true: NDArray[np.float64],
    last: NDArray[np.float64],
    kind: str,
    box: NDArray[np.float64],
    share: float,
    coins: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What the policy sees instead of the true observations, shape (episodes, readings)."""
    if kind == "obs_noise":
        return true + box * (2 * coins - 1)
    if kind == CONTROL:
        return true + box * np.where(coins < 0.5, -1.0, 1.0)
    if kind == "obs_attack":
        return true - box * np.sign(gap_gradient(policy, true))
    if kind == "obs_drop":
        return np.where(coins < share, last, true)
    return true


def gap_gradient(policy: Any, observations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient of the gap between the two largest logits, shape of the observations.

    Raises:
        NotDifferentiableError: when the policy's logits do not depend on the observation through torch.
    """
    with torch.enable_grad():
        point = torch.from_numpy(observations).requires_grad_()
        best = policy.logits(point).topk(2, dim=1).values
        if not best.requires_grad:
            raise NotDifferentiableError(
                "no gradient reaches the observations: the policy detaches its input; use obs_noise or obs_sign"
            )
        (gradient,) = torch.autograd.grad((best[:, 0] - best[:, 1]).sum(), point)
    found: NDArray[np.float64] = gradient.numpy()
    return found


@torch.no_grad()
def chosen(policy: Any, observations: NDArray[np.float64]) -> NDArray[np.int64]:
    """The action of largest logit, shape (episodes,).

    Raises:
        TargetError: when the policy gives something else than logits, or NaN or an infinity, naming the episode.
    """
    logits: Tensor = policy.logits(torch.from_numpy(observations))
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise TargetError(
            f"the policy gave {type(logits).__name__} of shape {tuple(getattr(logits, 'shape', ()))}; a torch tensor of "
            "(episodes, actions), two actions or more, was expected"
        )
    good = torch.isfinite(logits).all(dim=1)
    if not good.all():
        first = int(torch.argmin(good.to(torch.uint8)))
        raise TargetError(
            f"the policy gave NaN or an infinity in episode {first} for {observations[first].tolist()}"
        )
    found: NDArray[np.int64] = logits.argmax(dim=1).numpy()
    return found
