"""What a chat model or a person may say about a round: seeds, sets and candidate genes. Values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

CANDIDATE_SHARE = 0.25
"""At most this part of a batch comes from candidates; the picker keeps the rest."""


@dataclass(frozen=True)
class Proposal:
    """Hints for one round; none replaces the picker.

    Args:
        seeds: genes near which to look.
        sets: names of gene sets that matter.
        candidates: genes to test, best first; at most `CANDIDATE_SHARE` of the batch is taken.
        why: one or two sentences, kept as said.
    """

    seeds: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    why: str = ""

    @property
    def empty(self) -> bool:
        """Whether it says nothing that could change a pick."""
        return not (self.seeds or self.sets or self.candidates)

    @property
    def sha256(self) -> str:
        """Hash of its content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "seeds": list(self.seeds),
            "sets": list(self.sets),
            "candidates": list(self.candidates),
            "why": self.why,
        }

    @classmethod
    def from_json(cls, value: object) -> tuple[Proposal, list[str]]:
        """The proposal in a reply, and what was wrong with it; a malformed reply is an empty proposal."""
        if not isinstance(value, Mapping):
            return cls(), [f"a proposal must be a JSON object, not {type(value).__name__}"]
        notes: list[str] = []

        def names(key: str) -> tuple[str, ...]:
            found = value.get(key, [])
            if not isinstance(found, list) or not all(isinstance(x, str) for x in found):
                notes.append(f"{key} must be a list of names; ignored")
                return ()
            return tuple(found)

        why = value.get("why", "")
        return cls(
            names("seeds"), names("sets"), names("candidates"), why if isinstance(why, str) else ""
        ), notes
