"""What tokens cost: a dated data file, which the user may replace. A model that is not in it has unknown cost."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "AGENTKIT_PRICES"
_DATED = re.compile(r"-(\d{8}|latest)$")
_MILLION = 1e6


@dataclass(frozen=True)
class Tokens:
    """Tokens of one answer. `input` is the whole input, with what was read from and written to the cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input: float
    cache_read: float
    cache_write: float
    output: float

    def usd(self, tokens: Tokens) -> float:
        """What these tokens cost: cached parts at their own price, the rest of the input at the full one."""
        plain = tokens.input - tokens.cache_read - tokens.cache_write
        parts = (
            (plain, self.input),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write, self.cache_write),
            (tokens.output, self.output),
        )
        return sum(count * price for count, price in parts) / _MILLION


@dataclass(frozen=True)
class Prices:
    """Prices by model, and the day they were noted."""

    as_of: str
    models: Mapping[str, Price]
    source: str
    default_model: str = ""
    """Which of Anthropic's models is asked where the user names none."""

    def of(self, model: str) -> Price | None:
        """The price of a model, with or without the date that providers append; None when it is not listed."""
        return self.models.get(model) or self.models.get(_DATED.sub("", model))


def load_prices(path: str | Path | None = None) -> Prices:
    """The price file named by `path` or AGENTKIT_PRICES, else the one that ships.

    Raises:
        ConfigError: it cannot be read or has another shape.
    """
    chosen = path or os.environ.get(VARIABLE)
    file = Path(chosen) if chosen else Path(__file__).with_name("prices.json")
    try:
        return _parse(json.loads(file.read_text(encoding="utf-8")), str(file) if chosen else "agentkit")
    except OSError as error:
        raise ConfigError(f"price file {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'price file {file}: {error}; write {{"as_of": "YYYY-MM-DD", "models": {{"NAME": [input, cache read, '
            "cache write, output]}} with USD per million tokens"
        ) from None


def _parse(data: Any, source: str) -> Prices:
    models = {}
    for name, values in data["models"].items():
        numbers = [float(v) for v in values]
        if len(numbers) != 4 or min(numbers) < 0:
            raise ValueError(f"{name}: four prices >= 0 are needed")
        models[name] = Price(*numbers)
    return Prices(str(data["as_of"]), models, source, str(data.get("default") or ""))
