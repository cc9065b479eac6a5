"""Rewritten texts from a language model, kept in a file so that runs replay without it.

One JSON object a line: `id` (index in the data set), `kind`, `level`, `tokens` and `tags` of equal length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentkit.errors import TargetError, ToolError
from agentkit_input_noise.errors import VariantsNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Words = list[tuple[str, str]]

KINDS = ("paraphrase", "simplify", "verbose")
LEVELS = {1: "a little", 2: "clearly", 3: "as much as possible"}
ASKED = {
    "paraphrase": "Say the same in other words: change the order of parts, and abbreviations to full forms or back",
    "simplify": "Leave out what is not needed",
    "verbose": "Say it wordily, as somebody would aloud, with words around it that mean nothing for the content",
}
TRIES = 2


@dataclass(frozen=True, eq=False)
class Variants:
    """Rewritten texts by kind, level and index of the text.

    Attributes:
        words: words with tags of each.
        name: where they come from, for messages.
    """

    words: dict[tuple[str, int, int], Words] = field(repr=False)
    name: str

    def holds(self, kind: str) -> bool:
        """Whether there is any text of that kind."""
        return any(k == kind for k, _, _ in self.words)

    def of(self, kind: str, level: int, item: int) -> Words:
        """One rewritten text; raises `VariantsNeededError` where it is not there."""
        found = self.words.get((kind, level, item))
        if found is None:
            raise VariantsNeededError(
                f"{self.name} has no {kind} of level {level} for text {item}; write it: "
                f"agentkit noise variants --kinds {kind} --level {level}"
            )
        return found


def read(path: Path) -> Variants:
    """The texts of a file.

    Raises:
        TargetError: a line that is no such object, naming it.
    """
    words: dict[tuple[str, int, int], Words] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key = str(row["kind"]), int(row["level"]), int(row["id"])
            words[key] = list(zip(map(str, row["tokens"]), map(str, row["tags"]), strict=True))
        except (ValueError, KeyError, TypeError) as error:
            raise TargetError(
                f"{path}: line {number} is no object with id, kind, level, and as many tokens as tags ({error})"
            ) from None
    if not words:
        raise TargetError(f"{path} holds no text; write some: agentkit noise variants")
    return Variants(words, path.name)


def write_lines(
    ask: Callable[[str], str], data: Any, items: Sequence[int], kinds: Sequence[str], level: int
) -> Iterator[str | None]:
    """One line a text and kind, as a chat model rewrites it; None where it gave no usable answer.

    Args:
        ask: a chat model: a request in, its answer out.
        data: a data set with `tokens`, `tags` and `outside`.
        items: which texts.
        kinds: of `KINDS`.
        level: 1 to 3.
    """
    tags = sorted({tag for row in data.tags for tag in row} | {data.outside})
    for kind in kinds:
        for item in items:
            clean = list(zip(data.tokens[item], data.tags[item], strict=True))
            request = request_for(clean, kind, level, data.outside)
            found = next((w for _ in range(TRIES) if (w := parsed(ask(request), tags)) is not None), None)
            yield None if found is None else line_of(item, kind, level, found)


def line_of(item: int, kind: str, level: int, words: Words) -> str:
    """One line of the file."""
    tokens, tags = [w for w, _ in words], [t for _, t in words]
    row = {"id": int(item), "kind": kind, "level": level, "tokens": tokens, "tags": tags}
    return json.dumps(row, ensure_ascii=False)


def request_for(words: Words, kind: str, level: int, outside: str) -> str:
    """What a chat model is asked."""
    return (
        f"Below is a text as a JSON list of [word, label] pairs. {ASKED[kind]}, {LEVELS[level]}. Keep every label on "
        f"the words that say the same; a word that belongs to no label gets {json.dumps(outside)}. No word holds a "
        f"blank. Answer with the new JSON list alone.\n{json.dumps(words, ensure_ascii=False)}"
    )


def parsed(answer: str, tags: Sequence[str]) -> Words | None:
    """The pairs in an answer; None unless every word is one word and every label is known."""
    start, end = answer.find("["), answer.rfind("]")
    try:
        rows = json.loads(answer[start : end + 1])
        words = [(str(word), str(tag)) for word, tag in rows]
    except (ValueError, TypeError):
        return None
    good = all(word and word.split() == [word] and tag in tags for word, tag in words)
    return words if words and good else None


def chat(name: str, installed: dict[str, Any]) -> Callable[[str], str]:
    """The chat model behind a planner's name: one that a plugin brings, or any that LangChain knows.

    Raises:
        ToolError: the offline planner, which writes no prose, or a model that cannot be reached.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "offline":
        raise ToolError(
            "the offline planner writes no texts: name a chat model (--planner anthropic:MODEL), or leave variants out: "
            "data sets with rules of their own, such as addresses:, need none"
        )
    try:
        if prefix in installed:
            model = installed[prefix](rest)
        else:
            from langchain.chat_models import init_chat_model

            model = init_chat_model(name)
    except Exception as error:  # noqa: BLE001 - whatever a provider's package raises
        raise ToolError(f"planner {name!r} cannot be used: {' '.join(str(error).split())[:300]}") from None

    def ask(request: str) -> str:
        try:
            return str(model.invoke(request).text)
        except Exception as error:  # noqa: BLE001 - whatever a provider's package raises
            raise ToolError(
                f"planner {name!r} gave no answer: {' '.join(str(error).split())[:300]}"
            ) from None

    return ask
