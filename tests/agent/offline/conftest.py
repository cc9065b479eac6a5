"""Bound schemas of installed and of third-party tools, and a conversation that answers the planner from a fake world."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

import agentkit
from agentkit.agent.graph import langchain_tools
from agentkit.agent.offline.model import OfflinePlanner
from agentkit.plugins import load_plugins


class Dimming(agentkit.Params):
    """A tool that no built-in resembles: everything the planner knows of it is here."""

    target: Annotated[str, Field(description="camera: URI such as cam:NAME")]
    level: Annotated[float, Field(ge=0, le=1, description="share of light taken away")] = 0.5
    glare: Annotated[float, Field(ge=0, le=50, description="lamp brightness in lux")] = 0.0
    lenses: Annotated[tuple[Literal["wide", "tele", "fish_eye"], ...], Field(description="lenses tried")] = (
        "wide",
    )
    frames: Annotated[int, Field(ge=1, le=1000, description="pictures per unit")] = 10
    zones: Annotated[tuple[float, ...], Field(description="distances in metres")] = (1.0, 2.0)
    tripod: Annotated[bool, Field(description="whether the camera stands still")] = False


@agentkit.tool(
    name="camera.dim",
    metrics=[agentkit.Metric("focus_score", 0, 1), agentkit.Metric("blur", 0, None)],
    version="1",
)
def dim(params: Dimming, units: Any, ctx: Any) -> Any:
    """Dim the light in front of a camera and measure whether it still focuses.

    Conditions: `baseline` and `level=LEVEL`.
    """
    raise NotImplementedError


class Shaking(agentkit.Params):
    """A second stranger."""

    speed: Annotated[float, Field(ge=0, le=100, description="revolutions a second")] = 1.0


@agentkit.tool(name="camera.shake", metrics=[agentkit.Metric("sharp_frames", 0, 1)], version="1")
def shake(params: Shaking, units: Any, ctx: Any) -> Any:
    """Vibrate the table under a camera and count sharp frames."""
    raise NotImplementedError


def bound(tools: dict[str, Any]) -> list[dict[str, Any]]:
    """Schemas as a provider gets them."""
    plugins = SimpleNamespace(tool=lambda name: tools[name])
    names, found = sorted(tools), {}
    for start in range(0, len(names), 20):
        toolbox: Any = SimpleNamespace(plugins=plugins, tool_names=names[start : start + 20], outside={})
        found |= {t.name: convert_to_openai_tool(t) for t in langchain_tools(toolbox)}
    return list(found.values())


@pytest.fixture(scope="session")
def installed() -> list[dict[str, Any]]:
    """All calls and installed tools."""
    plugins = load_plugins()
    return bound({n: plugins.tool(n) for n in plugins.tools})


@pytest.fixture(scope="session")
def cameras() -> list[dict[str, Any]]:
    """All calls and the two strangers."""
    return bound({"camera.dim": dim, "camera.shake": shake})


class Talk:
    """A conversation with the planner; `answer` gives the content of each tool call, or raises for an error."""

    def __init__(self, tools: list[dict[str, Any]], answer: Any = None) -> None:
        self.model = OfflinePlanner().bind(tools=tools)
        self.answer = answer
        self.messages: list[BaseMessage] = []

    def says(self, text: str) -> AIMessage:
        """One user message and the planner's first reply."""
        self.messages.append(HumanMessage(text))
        return self._reply()

    def goes_on(self, most: int = 200) -> AIMessage:
        """Answer calls until the planner ends."""
        for _ in range(most):
            last = self.messages[-1]
            assert isinstance(last, AIMessage)
            if not last.tool_calls:
                return last
            call = last.tool_calls[0]
            self._put(call)
            self._reply()
        raise AssertionError(f"the planner did not end within {most} turns")

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Every call so far."""
        return [
            (c["name"], c["args"]) for m in self.messages if isinstance(m, AIMessage) for c in m.tool_calls
        ]

    def _put(self, call: Any) -> None:
        try:
            content, status = json.dumps(self.answer(call["name"], call["args"])), "success"
        except ValueError as error:
            content, status = str(error), "error"
        self.messages.append(ToolMessage(content, tool_call_id=call["id"], name=call["name"], status=status))

    def _reply(self) -> AIMessage:
        reply = self.model.invoke(self.messages)
        self.messages.append(reply)
        return reply


@pytest.fixture
def talk(installed: list[dict[str, Any]]) -> Any:
    """`talk(answer)` opens a conversation over the installed tools; `tools=` names others."""
    return lambda answer=None, tools=None: Talk(tools or installed, answer)
