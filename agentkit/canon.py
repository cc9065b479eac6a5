"""One canonical spelling of a value, so that equal content has one hash everywhere.

JSON with sorted keys, no spaces, UTF-8; floats are written as `float.hex()` strings with a leading
`~`, because two JSON writers may print the same float differently. NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from agentkit.errors import ConfigError


def canonical_json(value: Any) -> str:
    """The one spelling of `value` (dicts, lists, text, numbers, booleans, None).

    Raises:
        ConfigError: for a NaN, an infinity, or a type that JSON does not have, naming the place.
    """
    return json.dumps(_canonical(value, "value"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_of(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def clean(value: Any) -> Any:
    """Plain JSON of a value; what JSON cannot say (NaN, foreign objects) becomes its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.loads(json.dumps(value, default=str))


def _canonical(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{place} is {value}: only finite numbers can be recorded")
        return f"~{value.hex()}"
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {str(key): _canonical(item, f"{place}.{key}") for key, item in value.items()}
    raise ConfigError(f"{place} is a {type(value).__name__}: only JSON values can be recorded")
