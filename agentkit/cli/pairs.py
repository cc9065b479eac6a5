"""`-p key=value` on the command line: the value is read as YAML, so that numbers, lists and words mean what they say."""

from __future__ import annotations

from typing import Any

from agentkit.errors import ParamError


def pair(text: str) -> tuple[str, Any]:
    """`("items", 8)` of `items=8`.

    Raises:
        ParamError: no `=`, or a value that is no YAML.
    """
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ParamError(f"-p {text}: write key=value, for example -p items=8")
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ParamError(
            f"-p {text}: {value!r} is not a YAML value; quote it, for example -p '{key}=\"…\"'"
        ) from None
    if isinstance(found, dict) and list(found.values()) == [None]:
        return key, value.strip()  # `minilm:` is a target; YAML reads a mapping without a value
    return key, found
