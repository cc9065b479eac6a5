"""Boolean rules: reading `A & !B | C`, truth tables, and the attractors of the synchronous map."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from agentkit_gene.simulation.errors import BadNetworkError
from agentkit_gene.simulation.network import MAX_MODULES, Gene, Input, Module, Network, States

if TYPE_CHECKING:
    import numpy as np

_TOKEN = re.compile(r"\s*(\(|\)|&&?|\|\|?|!|~|[^\s()&|!~]+)")
_WORDS = {"and": "&", "or": "|", "not": "!", "&&": "&", "||": "|", "~": "!"}

Value = Callable[[Mapping[str, bool]], bool]


def read_rule(text: str, place: str) -> tuple[Value, tuple[str, ...]]:
    """The rule as a function of named truth values, and the names it reads, sorted.

    Accepts `& | !`, `and or not`, `~`, brackets, `0 1 true false`.

    Raises:
        BadNetworkError: naming `place` and the token that does not fit.
    """
    tokens: list[str] = [_WORDS.get(t.lower(), t) for t in _TOKEN.findall(text)]
    names: set[str] = set()
    position = 0

    def peek() -> str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1]

    def either() -> Value:
        parts = [both()]
        while peek() == "|":
            take()
            parts.append(both())
        return parts[0] if len(parts) == 1 else lambda v: any(p(v) for p in parts)

    def both() -> Value:
        parts = [single()]
        while peek() == "&":
            take()
            parts.append(single())
        return parts[0] if len(parts) == 1 else lambda v: all(p(v) for p in parts)

    def single() -> Value:
        token = peek()
        if token is None or token in {")", "&", "|"}:
            raise BadNetworkError(
                f"{place}: a name is expected before {token or 'the end'!r} in rule {text!r}"
            )
        take()
        if token == "!":  # noqa: S105 - a token of a rule
            inner = single()
            return lambda v: not inner(v)
        if token == "(":  # noqa: S105 - a token of a rule
            inside = either()
            if peek() != ")":
                raise BadNetworkError(f"{place}: a bracket is not closed in rule {text!r}")
            take()
            return inside
        if token.lower() in ("0", "1", "true", "false"):
            constant = token.lower() in ("1", "true")
            return lambda _: constant
        names.add(token)
        return lambda v: v[token]

    value = either()
    if position < len(tokens):
        raise BadNetworkError(f"{place}: {tokens[position]!r} is not expected in rule {text!r}")
    return value, tuple(sorted(names))


def states_of_rule(
    text: str, place: str, *, maximum: float, half: Mapping[str, float], hill: float
) -> States:
    """A rule as module states: alpha is its truth table, one single-input module a name."""
    value, names = read_rule(text, place)
    if len(names) > MAX_MODULES:
        raise BadNetworkError(f"{place}: {len(names)} inputs in one rule; at most {MAX_MODULES}")
    table = tuple(
        float(value({name: bool(s >> j & 1) for j, name in enumerate(names)})) for s in range(1 << len(names))
    )
    missing = [n for n in names if n not in half]
    if missing:
        raise BadNetworkError(f"{place}: {missing[0]!r} in rule {text!r} is no gene of the file")
    modules = tuple(Module((Input(name, half[name], hill),)) for name in names)
    return States(maximum, modules, table)


def network_of_rules(
    rules: Mapping[str, str],
    *,
    name: str,
    source: str,
    maximum: float = 40.0,
    decay: float = 1.0,
    hill: float = 4.0,
    init: Mapping[str, float] | None = None,
) -> Network:
    """A network in which every gene follows a Boolean rule; h is half of the largest level.

    Names that appear only inside rules become inputs that keep their state (`X = X`).
    """
    whole = dict(rules)
    for target, text in rules.items():
        for regulator in read_rule(text, f"{name}, gene {target!r}")[1]:
            whole.setdefault(regulator, regulator)
    half = dict.fromkeys(whole, maximum / decay / 2)
    genes = tuple(
        Gene(
            target,
            decay=decay,
            states=states_of_rule(text, f"{name}, gene {target!r}", maximum=maximum, half=half, hill=hill),
            init=(init or {}).get(target, 0.0),
        )
        for target, text in whole.items()
    )
    return Network(name, genes, source=source, kinetics="ours", rules=tuple(whole.items()))


def synchronous_attractors(rules: Sequence[tuple[str, str]]) -> list[tuple[tuple[frozenset[str], ...], int]]:
    """Every attractor of the synchronous Boolean map: its states (sets of names that are on) and basin size.

    Enumerates 2^n states, so it refuses more than 20 genes.
    """
    if len(rules) > 20:
        raise BadNetworkError(f"{len(rules)} genes: attractors are enumerated for at most 20")
    names = [name for name, _ in rules]
    step = _synchronous_step(rules)
    end = _end_of_each_state(step)
    found: dict[int, int] = {}
    for state in range(len(step)):
        found[end[state]] = found.get(end[state], 0) + 1
    return sorted(
        ((_cycle(step, start, names), basin) for start, basin in found.items()), key=lambda item: len(item[0])
    )


def _synchronous_step(rules: Sequence[tuple[str, str]]) -> np.ndarray:
    import numpy as np

    names = [name for name, _ in rules]
    states = np.arange(1 << len(names))
    step = np.zeros_like(states)
    for i, (name, text) in enumerate(rules):
        value, read = read_rule(text, name)
        bits = [names.index(r) for r in read]
        table = np.array(
            [value({r: bool(s >> j & 1) for j, r in enumerate(read)}) for s in range(1 << len(read))],
            dtype=int,
        )
        code = sum(((states >> b & 1) << j for j, b in enumerate(bits)), start=np.zeros_like(states))
        step |= table[code] << i
    return step


def _end_of_each_state(step: np.ndarray) -> list[int]:
    """For each state the smallest state of the cycle it falls into."""
    end: dict[int, int] = {}
    for first in range(len(step)):
        path: list[int] = []
        at = first
        seen: dict[int, int] = {}
        while at not in end and at not in seen:
            seen[at] = len(path)
            path.append(at)
            at = int(step[at])
        label = end[at] if at in end else min(path[seen[at] :])
        for state in path:
            end[state] = label
    return [end[s] for s in range(len(step))]


def _cycle(step: np.ndarray, start: int, names: Sequence[str]) -> tuple[frozenset[str], ...]:
    states: list[frozenset[str]] = []
    at = start
    while not states or at != start:
        states.append(frozenset(n for i, n in enumerate(names) if at >> i & 1))
        at = int(step[at])
    return tuple(states)
