"""The target `cartpole:linear`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import agentkit
from agentkit.errors import TargetError, TargetUnavailableError, unknown


def fingerprint(rest: str) -> str:
    """What policies are trained by: this recipe and the simulator's version (each unit trains its own)."""
    if rest != "linear":
        raise TargetError(unknown("cartpole target", f"cartpole:{rest}", ["cartpole:linear"]))
    try:
        return f"cartpole:linear 1, gymnasium {version('gymnasium')}"
    except PackageNotFoundError:
        raise TargetUnavailableError(
            "cartpole: needs gymnasium; run: pip install 'agentkit-perturb[rl]'"
        ) from None


@agentkit.target("cartpole", fingerprint=fingerprint)
def cartpole(rest: str, device: str) -> Any:
    """`cartpole:linear`: linear policies for CartPole-v1, a fresh trained one for each unit (needs gymnasium)."""
    from agentkit_input_noise.cartpole import LinearPolicies

    fingerprint(rest)
    return LinearPolicies()
