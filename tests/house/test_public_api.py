"""The surface: what is public is listed here, so that a change of it shows in review."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import agentkit
from agentkit.prompts import prompts

PUBLIC = [
    "BASELINE", "Context", "Lab", "Measurements", "Metric", "Params", "Resources", "TargetLoader", "Tool", "Unit",
    "derive_seed", "errors", "hookimpl", "lab", "target", "tool",
]  # fmt: skip
PROMPT_LOCK = Path(__file__).parent / "prompts.lock.json"


def test_the_public_names_are_these_sorted_importable_and_documented():
    assert agentkit.__all__ == PUBLIC == sorted(PUBLIC)
    for name in PUBLIC:
        found = getattr(agentkit, name)
        assert name == "BASELINE" or found.__doc__, f"{name} has no docstring"


def test_the_function_that_opens_a_lab_stays_a_function_after_its_module_was_imported():
    import agentkit.laboratory

    assert agentkit.lab is agentkit.laboratory.lab
    assert callable(agentkit.lab)


def test_a_shipped_prompt_never_changes():
    """After adding a version: PYTHONPATH=. python -m tests.house.test_public_api rewrites the lock."""
    assert {key: p.sha256 for key, p in prompts().items()} == json.loads(PROMPT_LOCK.read_text())


def test_a_prompt_is_filled_strictly():
    import pytest

    from agentkit.errors import ConfigError
    from agentkit.prompts import Prompt, prompt

    template = Prompt("x", "v1", "hello {{name}}")
    assert template.fill(name="you") == "hello you"
    with pytest.raises(ConfigError, match=r"missing \['name'\], unexpected \['nam'\]"):
        template.fill(nam="you")
    with pytest.raises(ConfigError, match="no prompt 'plan@v0'"):
        prompt("plan@v0")


if __name__ == "__main__":
    locked = {key: hashlib.sha256(p.text.encode()).hexdigest() for key, p in sorted(prompts().items())}
    PROMPT_LOCK.write_text(json.dumps(locked, indent=2) + "\n")
