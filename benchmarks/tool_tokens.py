"""What a model reads of tools in every request: all of them, and those that are shown for a goal.

Characters of the JSON that the provider gets, and about a quarter as many tokens. No provider counts here.

    python benchmarks/tool_tokens.py
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent_common import show
from langchain_anthropic.chat_models import convert_to_anthropic_tool
from langchain_core.messages import HumanMessage

from agentkit.agent.graph import langchain_tools
from agentkit.agent.names import to_wire
from agentkit.agent.shortlist import MOST_TOOLS, Shortlist
from agentkit.plugins import load_plugins

REQUESTS = sorted((Path(__file__).parent.parent / "tests" / "data").glob("requests*.jsonl"))
CHARACTERS_A_TOKEN = 4


def main() -> int:
    plugins = load_plugins()
    toolbox: Any = SimpleNamespace(plugins=plugins, tool_names=sorted(plugins.tools), outside={})
    size = {t.name: len(json.dumps(convert_to_anthropic_tool(t))) for t in langchain_tools(toolbox)}
    shortlist = Shortlist(toolbox)
    hidden_always = {to_wire(n) for n in toolbox.tool_names}
    calls = sum(s for n, s in size.items() if n not in hidden_always)
    lines = [line for path in REQUESTS for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = [r for r in map(json.loads, lines) if r["do"] == "run"]
    began = time.process_time()
    shown = [shortlist.shown([HumanMessage(r["q"])]) for r in wanted]
    each_ms = 1e3 * (time.process_time() - began) / len(wanted)
    sums = [calls + sum(size[to_wire(n)] for n in names) for names in shown]
    found = sum(r["tool"] in names for r, names in zip(wanted, shown, strict=True))
    data = {
        "tools": len(toolbox.tool_names),
        "shown": MOST_TOOLS,
        "characters, all": sum(size.values()),
        "characters, shown (median, largest)": [int(statistics.median(sums)), max(sums)],
        "tokens, all and shown (about)": [
            sum(size.values()) // CHARACTERS_A_TOKEN,
            int(statistics.median(sums)) // CHARACTERS_A_TOKEN,
        ],
        "requests whose tool is shown": f"{found} of {len(wanted)}",
        "ms to choose": round(each_ms, 2),
    }
    return show(data, {"every request's tool is shown": found == len(wanted)})


if __name__ == "__main__":
    sys.exit(main())
