"""What a user says in plain words reaches the right tool with the right kind of noise, without a language model."""

from types import SimpleNamespace

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from agentkit.agent.graph import langchain_tools
from agentkit.agent.offline.model import OfflinePlanner
from agentkit.plugins import load_plugins


@pytest.fixture(scope="module")
def planner():
    """The offline planner with every installed tool bound."""
    plugins, found = load_plugins(), {}
    names = sorted(plugins.tools)
    for start in range(0, len(names), 20):
        toolbox = SimpleNamespace(plugins=plugins, tool_names=names[start : start + 20], outside={})
        found |= {t.name: convert_to_openai_tool(t) for t in langchain_tools(toolbox)}
    return OfflinePlanner().bind_tools(list(found.values()))


@pytest.mark.parametrize(
    ("words", "tool", "params"),
    [
        ("does Whisper hallucinate when I put noise before the speech?", "noise.asr", {"kinds": ["prefix"]}),
        ("How many words does Whisper get wrong in background noise at 0 dB?", "noise.asr", {"snr": [0]}),
        ("Does a speech recogniser make up sentences when other people talk in the background?", "noise.asr",
         {"kinds": ["babble"]}),
        ("test whether losing 50 % of the audio packets raises the word error rate", "noise.asr",
         {"kinds": ["dropout"], "shares": [0.5]}),
        ("my recordings are overdriven, does clipping hurt the transcripts?", "noise.asr", {"kinds": ["clip"]}),
        ("what does 40 percent of missing edges do to link prediction?", "noise.graph",
         {"kinds": ["edge_drop"], "strengths": [0.4]}),
        ("How does the recommender cope if edges trade ends of the same type?", "noise.graph", {"kinds": ["type_swap"]}),
        ("Does a low-rank view of the graph with rank 10 keep recall?", "noise.graph",
         {"kinds": ["svd_rank"], "ranks": [10]}),
        ("can addresses still be re-identified when personal data are replaced by fake values?", "noise.pii",
         {"strategies": ["faux"]}),
        ("How much personal data leaks if half of the values are masked?", "noise.pii", {"strategies": ["mask"]}),
        ("does purifying the images with a median filter undo the attack at eps 0.1?", "noise.purify",
         {"purifiers": ["median"], "eps": [0.1]}),
        ("Is purification with total variation still robust if the attacker knows of it?", "noise.purify",
         {"purifiers": ["total_variation"]}),
        ("attack the digits net with a gradient shift of 0.5", "noise.attack", {"kind": "gradient_shift", "eps": [0.5]}),
        ("verify the digits net with optimised slopes at eps 0.01", "noise.bounds",
         {"methods": ["alpha_crown"], "eps": [0.01]}),
    ],
)  # fmt: skip
def test_a_request_in_plain_words_runs_the_right_tool(planner, words, tool, params):
    calls = planner.invoke([HumanMessage(words)]).tool_calls
    assert [c["name"] for c in calls] == ["explore"]
    assert calls[0]["args"]["tool"] == tool
    assert {k: calls[0]["args"]["params"].get(k) for k in params} == params
