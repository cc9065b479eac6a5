"""Same messages and schemas, same bytes: in other processes, hash seeds, locales, and orders of registration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage

from agentkit.agent.offline.planner import plan

GOALS = [
    "does typos at 0.4 lower recall by more than 0.1? register and test it",
    "Which head of layer 3 carries most of the match?",
    "measure robustness",
    "tell me a joke",
    "which claims are supported?",
]
SCRIPT = """
import json, sys
from agentkit.agent.offline.planner import plan
from langchain_core.messages import HumanMessage
tools, goals = json.load(sys.stdin)
print(json.dumps([repr(plan([HumanMessage(g)], tools)) for g in goals]))
"""


def test_two_processes_with_other_hash_seeds_and_locales_give_identical_bytes(installed: Any) -> None:
    outputs = []
    for seed, locale, tools in (("0", "C", installed), ("1", "C.UTF-8", list(reversed(installed)))):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=json.dumps([tools, GOALS]),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "LANGSMITH_TRACING": "false"},
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0]) == [repr(plan([HumanMessage(g)], installed)) for g in GOALS]


def test_call_ids_depend_on_the_messages_alone(talk: Any) -> None:
    ids = [talk().says(GOALS[0]).tool_calls[0]["id"] for _ in range(2)]
    assert ids[0] == ids[1]
    assert ids[0].startswith("off_")
    assert talk().says(GOALS[1]).tool_calls[0]["id"] != ids[0]


def test_nothing_is_charged_and_the_model_names_itself(talk: Any) -> None:
    reply = talk().says(GOALS[0])
    assert reply.usage_metadata == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert reply.response_metadata["model_name"] == "offline"


def test_understanding_needs_no_numpy_and_no_torch() -> None:
    code = (
        "import sys, agentkit.agent.offline.request, agentkit.agent.offline.strategy, agentkit.agent.offline.wanted;"
        "print([m for m in ('numpy', 'torch', 'langchain', 'sqlmodel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_tool_is_named_in_the_planners_code(installed: Any) -> None:
    import agentkit.agent.offline as package

    names = [t["function"]["name"].replace("__", ".") for t in installed]
    code = "\n".join(p.read_text(encoding="utf-8") for p in sorted(Path(package.__path__[0]).glob("*.py")))
    strings = code.split('"""')[0::2]  # docstrings may show an example
    assert not [n for n in names if "." in n and any(n in s for s in strings)]
