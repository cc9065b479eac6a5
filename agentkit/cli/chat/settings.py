"""What the options of `chat`, `ask` and `resume` say, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from agentkit.errors import ConfigError, near_names
from agentkit.study import ApprovalSection, BudgetSection

ASK_OVER_S = 60.0
"""An exploration that is declared to take longer is asked about."""
POLICIES = {
    "auto": ApprovalSection(),
    "ask": ApprovalSection.model_validate({"register": "ask", "seconds_over": ASK_OVER_S}),
    "never": ApprovalSection.model_validate({"register": "deny"}),
}


@dataclass(frozen=True)
class Settings:
    """Where a conversation is kept, who plans, who approves, what may be spent.

    Args:
        store: path or URL of the ledger.
        campaign: its name; None is that of a resumed session, else `default`.
        planner: a planner's name, or None for what the environment says.
        approve: `auto`, `ask`, `never`, or a YAML file with the keys of a study's `approve` block.
        workers: `inline`, `local`, `local:2`.
        modules: import paths of modules with tools of one's own.
        budget: caps.
        as_json: JSON lines instead of words.
    """

    store: str = "agentkit.db"
    campaign: str | None = None
    planner: str | None = None
    approve: str = "ask"
    workers: str = "local"
    modules: tuple[str, ...] = ()
    budget: BudgetSection = field(default_factory=BudgetSection)
    as_json: bool = False


def policy_of(approve: str) -> ApprovalSection:
    """The approval policy behind a word or a file.

    Raises:
        ConfigError: neither, or a file with other keys.
    """
    if approve in POLICIES:
        return POLICIES[approve]
    path = Path(approve)
    if not path.is_file():
        raise ConfigError(
            f"--approve {approve}: no such policy and no such file. {near_names(approve, POLICIES)}"
        )
    try:
        return ApprovalSection.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        known = [f.alias or n for n, f in ApprovalSection.model_fields.items()]
        said = " ".join(str(error).split())[:160]
        raise ConfigError(f"--approve {approve}: {said}; known keys: {', '.join(known)}") from None
