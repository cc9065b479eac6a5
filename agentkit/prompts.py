"""Versioned prompt templates: found through the entry point `agentkit.prompts`, filled strictly, named by hash."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING

from agentkit.errors import ConfigError, unknown

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

GROUP = "agentkit.prompts"
_SLOT = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Prompt:
    """One template `name@version`, for example `plan@v1`. A shipped version never changes."""

    name: str
    version: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the template's bytes: what the ledger keeps."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, **values: str) -> str:
        """The text with every `{{slot}}` filled.

        Raises:
            ConfigError: a slot without a value, or a value without a slot.
        """
        slots = set(_SLOT.findall(self.text))
        if slots != set(values):
            missing, extra = sorted(slots - set(values)), sorted(set(values) - slots)
            raise ConfigError(f"prompt {self.name}@{self.version}: missing {missing}, unexpected {extra}")
        return _SLOT.sub(lambda slot: values[slot.group(1)], self.text)


@cache
def prompts() -> dict[str, Prompt]:
    """Every installed prompt by `name@version`."""
    found: dict[str, Prompt] = {}
    for ep in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        for folder in files(ep.load()).iterdir():
            if folder.is_dir():
                found.update(_versions(folder))
    return found


def prompt(key: str) -> Prompt:
    """The prompt `name@version`; raises `ConfigError` with near names."""
    if key not in prompts():
        raise ConfigError(unknown("prompt", key, prompts()))
    return prompts()[key]


def _versions(folder: Traversable) -> dict[str, Prompt]:
    return {
        f"{folder.name}@{file.name.removesuffix('.md')}": Prompt(
            folder.name, file.name.removesuffix(".md"), file.read_text(encoding="utf-8")
        )
        for file in folder.iterdir()
        if file.name.endswith(".md")
    }
