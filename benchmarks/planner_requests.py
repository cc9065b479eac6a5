"""Does the offline planner do the right thing with a request in plain English?

Three request files: one was written for fitting, one was held out and not read while fitting, and one was written as
four kinds of users would put it, before the planner's answer to any of it was seen. The planner was then mended by
what went wrong in the last, so its figure is no longer one of strangers; what it was at first stands in the docs.
Every request goes through the planner's chat-model interface with the schemas of all installed tools; only
the first thing it does is judged. Baselines: a tool is run when its name (or the part after the dot) stands in
the request; plain TF-IDF over the same words, the best tool always run, no values read.

    python benchmarks/planner_requests.py [--show]     # --show lists what went wrong in the development half
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from agentkit.agent.graph import langchain_tools
from agentkit.agent.offline.model import OfflinePlanner
from agentkit.agent.offline.replies import QUESTION
from agentkit.agent.offline.schemas import read_cards
from agentkit.agent.offline.text import read_tokens, search_words
from agentkit.plugins import load_plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agentkit.agent.offline.cards import ToolCard

DATA = Path(__file__).parent.parent / "tests" / "data"
FILES = {
    "development": DATA / "requests.jsonl",
    "held out": DATA / "requests_heldout.jsonl",
    "fresh": DATA / "requests_fresh.jsonl",
}
BARS = {"tool_or_question": 0.90, "params": 0.85, "wrong_run": 0.02, "refused": 0.95}

First = dict[str, Any]
"""The first thing done: `do` (run, ask, refuse, ledger), and tool, params, units, text where they apply."""


@dataclass
class Score:
    """Counts over one file."""

    requests: int = 0
    runs: int = 0
    asks: int = 0
    right_tool: int = 0
    right_question: int = 0
    right_params: int = 0
    wrong_runs: int = 0
    off_topic: int = 0
    refused: int = 0
    ledger: int = 0
    ledger_right: int = 0

    @property
    def rates(self) -> dict[str, float]:
        """Shares that the bars are about; params are judged where the right tool was run."""
        return {
            "tool": self.right_tool / self.runs,
            "tool_or_question": (self.right_tool + self.right_question) / (self.runs + self.asks),
            "params": self.right_params / max(self.right_tool, 1),
            "wrong_run": self.wrong_runs / self.requests,
            "refused": self.refused / max(self.off_topic, 1),
            "ledger": self.ledger_right / max(self.ledger, 1),
        }


def bound_tools() -> list[dict[str, Any]]:
    """Schemas of all calls and installed tools, as a provider would get them."""
    plugins = load_plugins()
    toolbox: Any = SimpleNamespace(plugins=plugins, tool_names=sorted(plugins.tools), outside={})
    names = sorted(plugins.tools)
    tools: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), 20):  # the graph binds a limited number at once
        toolbox.tool_names = names[start : start + 20]
        for tool in langchain_tools(toolbox):
            tools[tool.name] = convert_to_openai_tool(tool)
    return list(tools.values())


def offline(tools: Sequence[Mapping[str, Any]]) -> Callable[[str], First]:
    """The planner's first act."""
    model = OfflinePlanner().bind(tools=list(tools))

    def act(request: str) -> First:
        message = model.invoke([HumanMessage(request)])
        if not message.tool_calls:
            return {
                "do": "ask" if message.content.startswith(QUESTION) else "refuse",
                "text": message.content,
            }
        call = message.tool_calls[0]
        if call["name"] != "explore":
            return {"do": "ledger"}
        return {"do": "run", **call["args"]}

    return act


def by_exact_name(cards: Sequence[ToolCard]) -> Callable[[str], First]:
    """A tool is run when its name stands in the request; nothing else is understood."""

    def act(request: str) -> First:
        words = request.casefold()
        for card in cards:
            names = (card.name, card.name.rpartition(".")[2].replace("_", " "))
            if any(re.search(rf"\b{re.escape(n)}\b", words) for n in names):
                return {"do": "run", "tool": card.name, "params": {}}
        return {"do": "refuse", "text": ""}

    return act


def by_tf_idf(cards: Sequence[ToolCard]) -> Callable[[str], First]:
    """Cosine of TF-IDF vectors over the same words; the best tool is run unless nothing matches."""
    documents = [Counter(w for words in c.fields.values() for w in words) for c in cards]
    n = Counter(w for d in documents for w in d)
    idf = {w: math.log(len(cards) / n[w]) for w in n}
    norms = [math.sqrt(sum((c * idf[w]) ** 2 for w, c in d.items())) or 1.0 for d in documents]

    def act(request: str) -> First:
        query = Counter(search_words(read_tokens(request)))
        scores = [
            sum(k * d[w] * idf[w] ** 2 for w, k in query.items() if w in d) / m
            for d, m in zip(documents, norms, strict=True)
        ]
        best = max(range(len(cards)), key=lambda i: scores[i])
        if scores[best] <= 0:
            return {"do": "refuse", "text": ""}
        return {"do": "run", "tool": cards[best].name, "params": {}}

    return act


def judge(wanted: Mapping[str, Any], first: First, cards: Mapping[str, ToolCard], score: Score) -> str:
    """Count one request; returns what was wrong, or nothing."""
    score.requests += 1
    do, got = wanted["do"], first["do"]
    if do == "refuse":
        score.off_topic += 1
        score.refused += got == "refuse"
    elif do == "ledger":
        score.ledger += 1
        score.ledger_right += got == "ledger"
    elif do == "ask":
        score.asks += 1
        if got == "ask" and asks_right(wanted, first["text"]):
            score.right_question += 1
            return ""
    else:
        score.runs += 1
        if got == "run" and first["tool"] == wanted["tool"]:
            score.right_tool += 1
            if params_equal(wanted, first, cards[wanted["tool"]]):
                score.right_params += 1
                return ""
            return f"params {first['params']}"
        if got == "ask" and wanted["tool"] in first["text"]:
            score.right_question += 1
            return "asked which tool"
    if got == "run":
        score.wrong_runs += 1
        return f"ran {first['tool']}"
    return "" if got == do else f"{got}: {first.get('text', '')[:90]!r}"


def asks_right(wanted: Mapping[str, Any], text: str) -> bool:
    """Whether the question is about the right thing: the tool, or one of the missing params."""
    return wanted["asks"] == ["tool"] or any(f"`{name}`" in text for name in wanted["asks"])


def params_equal(wanted: Mapping[str, Any], first: First, card: ToolCard) -> bool:
    """Whether every param has the wanted value; left out means default, a range means its ends."""
    usual = {p.name: p.default for p in card.params if len(p.path) == 1}
    for name in {*wanted["params"], *first["params"]}:
        want = wanted["params"].get(name, usual.get(name))
        got = first["params"].get(name, usual.get(name))
        if isinstance(want, dict) and "from" in want:
            inside = isinstance(got, list) and min(got) >= want["from"] and math.isclose(max(got), want["to"])
            if not inside:
                return False
        elif got != want:
            return False
    return wanted.get("units") in (None, first.get("units"))


def evaluate(
    act: Callable[[str], First], cards: Mapping[str, ToolCard], path: Path
) -> tuple[Score, list[str], float]:
    """Score, faults and milliseconds a request over one file."""
    score = Score()
    requests = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    began = time.process_time()
    judged = [(wanted, judge(wanted, act(wanted["q"]), cards, score)) for wanted in requests]
    faults = [f"{w['q']}\n    wanted {w.get('tool') or w['do']}: {fault}" for w, fault in judged if fault]
    return score, faults, 1e3 * (time.process_time() - began) / len(requests)


def main() -> None:
    """Print both tables."""
    tools = bound_tools()
    cards, _ = read_cards(tools)
    named = {c.name: c for c in cards}
    planners = {
        "offline": offline(tools),
        "exact name": by_exact_name(cards),
        "TF-IDF": by_tf_idf(cards),
    }
    print(f"{len(cards)} tools")
    for half, path in FILES.items():
        print(f"\n{half}: {path.name}")
        print(
            "planner      n   tool  tool or question  params | right tool  wrong run  refused  ledger  ms/request"
        )
        for name, act in planners.items():
            score, faults, ms = evaluate(act, named, path)
            r = score.rates
            print(
                f"{name:<11}{score.requests:>3}  {r['tool']:.3f}  {r['tool_or_question']:>16.3f}  {r['params']:>19.3f}"
                f"  {r['wrong_run']:>9.3f}  {r['refused']:>7.3f}  {r['ledger']:>6.3f}  {ms:>10.1f}"
            )
            if name == "offline" and half == "development" and "--show" in sys.argv:
                print("\n".join(faults))


if __name__ == "__main__":
    main()
