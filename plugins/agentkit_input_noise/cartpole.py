"""`cartpole:linear`: linear policies for CartPole-v1, each trained by the cross-entropy method in half a second."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentkit.errors import MissingExtraError, ToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SCALE = (0.5, 0.5, 0.05, 0.5)
"""What strength 1 means for position, velocity, angle (rad) and angular velocity."""

CANDIDATES, ELITE, MOST_ROUNDS, STEPS = 96, 16, 60, 500
SOLVED = 495.0


class LinearPolicy:
    """Pushes right where w o + b > 0.

    Args:
        weights: w of shape (4,) and b, together of shape (5,).
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.weights = torch.from_numpy(np.array(weights, dtype=np.float64))

    def logits(self, observations: Tensor) -> Tensor:
        """Preference for left and right, shape (episodes, 2), from observations of shape (episodes, 4)."""
        right = observations @ self.weights[:4] + self.weights[4]
        return torch.stack([-right, right], dim=1) / 2


class LinearPolicies:
    """A fresh trained policy for every seed."""

    scale = SCALE
    steps = STEPS

    def environment(self, episodes: int) -> Any:
        """That many CartPoles that step together."""
        return _environment(episodes)

    def policy(self, rng: np.random.Generator) -> LinearPolicy:
        """A policy trained from this generator; raises `ToolError` when it does not learn."""
        return LinearPolicy(np.frombuffer(_trained(int(rng.integers(1 << 31)))))


def _environment(episodes: int) -> Any:
    try:
        import gymnasium
    except ImportError:
        raise MissingExtraError(
            "cartpole: needs gymnasium; run: pip install 'agentkit-perturb[rl]'"
        ) from None
    return gymnasium.make_vec("CartPole-v1", num_envs=episodes, vectorization_mode="vector_entry_point")


@lru_cache(maxsize=1_024)
def _trained(seed: int) -> bytes:
    """Weights as bytes (hashable, and frozen in the cache): cross-entropy method, 96 candidates, the best 16 kept."""
    rng = np.random.default_rng(seed)
    environment = _environment(CANDIDATES)
    mean, spread = np.zeros(5), np.ones(5)
    for _ in range(MOST_ROUNDS):
        weights = mean + spread * rng.standard_normal((CANDIDATES, 5))
        returns = _returns(environment, weights, int(rng.integers(1 << 31)))
        elite = weights[np.argsort(returns, kind="stable")[-ELITE:]]
        mean, spread = elite.mean(axis=0), elite.std(axis=0) + 0.02
        same = np.broadcast_to(mean, (CANDIDATES, 5))
        if _returns(environment, same, int(rng.integers(1 << 31))).mean() >= SOLVED:
            return bytes(mean.tobytes())
    raise ToolError(f"cartpole:linear: no policy was found from seed {seed} in {MOST_ROUNDS} rounds")


def _returns(environment: Any, weights: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Steps until the pole falls, one candidate an episode, shape (candidates,)."""
    observations, _ = environment.reset(seed=seed)
    alive, steps = np.ones(len(weights), dtype=np.bool_), np.zeros(len(weights))
    while alive.any():
        right = (observations * weights[:, :4]).sum(axis=1) + weights[:, 4] > 0
        observations, _, fell, late, _ = environment.step(right.astype(np.int64))
        steps += alive
        alive &= ~(fell | late)
    return steps
