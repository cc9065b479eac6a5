"""The loopback server through the real client and SDK: what is scripted is what arrives."""

from __future__ import annotations

import http.client
import json
import time

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage

from agentkit.agent.offline.model import OfflinePlanner, goal_message
from agentkit.agent.planners import chat_model
from agentkit.errors import ConfigError, PlannerError
from agentkit.plugins import load_plugins
from agentkit.testing.anthropic_server import AnthropicServer
from agentkit.testing.replies import Call, Fault, Reply, Usage
from agentkit.testing.wire import behind_wire

USAGE = Usage(input=20, output=5, cache_read=100, cache_write=7)
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}


def client(server: AnthropicServer, **options) -> ChatAnthropic:
    options = {"max_retries": 3, **options}
    return ChatAnthropic(model="claude-test", base_url=server.url, api_key="none", **options)


def streamed(model, text="hello"):
    whole = None
    for chunk in model.stream(text):
        whole = chunk if whole is None else whole + chunk
    return whole


@pytest.mark.parametrize("ask", [lambda m: m.invoke("hello"), streamed], ids=["json", "stream"])
def test_words_calls_and_every_kind_of_token_arrive_as_scripted(ask):
    reply = Reply(
        "two looks", [Call("look", {"at": [1, 2.5, "é"]}), Call("look", {})], USAGE, model="claude-real"
    )
    with AnthropicServer([reply]) as server:
        message = ask(client(server).bind_tools([TOOL]))
    assert message.text == "two looks"
    assert [c["args"] for c in message.tool_calls] == [{"at": [1, 2.5, "é"]}, {}]
    assert len({c["id"] for c in message.tool_calls}) == 2
    assert message.usage_metadata["input_tokens"] == 127, (
        "the client adds what was read from and written to the cache"
    )
    assert message.usage_metadata["output_tokens"] == 5
    assert message.usage_metadata["input_token_details"] == {"cache_read": 100, "cache_creation": 7}
    assert message.response_metadata["model_name"] == "claude-real"
    assert message.response_metadata["stop_reason"] == "tool_use"


@pytest.mark.parametrize("status", [429, 529, 500])
def test_the_sdk_waits_as_told_and_asks_again(status):
    with AnthropicServer([Fault(status, retry_after_s=0.05), Reply("there")]) as server:
        began = time.monotonic()
        assert client(server).invoke("hello").text == "there"
    assert time.monotonic() - began >= 0.05
    assert len(server.requests) == 2
    assert len(server.messages) == 1, "a fault is not an answer"


def test_a_lasting_fault_reaches_the_caller_with_its_status_and_words():
    with (
        AnthropicServer([Fault(529, 0.0, "too busy")] * 3) as server,
        pytest.raises(anthropic.APIStatusError) as error,
    ):
        client(server, max_retries=1).invoke("hello")
    assert (error.value.status_code, len(server.requests)) == (529, 2)
    assert "too busy" in str(error.value)


def test_a_wrong_key_is_not_tried_twice():
    with AnthropicServer([Fault(401)] * 2) as server, pytest.raises(anthropic.AuthenticationError):
        client(server).invoke("hello")
    assert len(server.requests) == 1


def test_a_stream_cut_in_half_is_an_error_and_not_a_short_answer():
    with (
        AnthropicServer([Reply("words " * 50, cut=True)]) as server,
        pytest.raises(Exception, match="peer closed"),
    ):
        streamed(client(server))
    assert server.messages == []


def test_an_answer_that_is_not_json_is_an_error():
    with AnthropicServer([Reply("hello", broken=True)]) as server, pytest.raises(json.JSONDecodeError):
        client(server).invoke("hello")


def test_a_slow_answer_meets_the_clients_timeout():
    client_options = {"max_retries": 0, "default_request_timeout": 0.1}
    with AnthropicServer([Reply("late", delay_s=0.5)]) as server, pytest.raises(anthropic.APITimeoutError):
        client(server, **client_options).invoke("hello")


def test_a_script_may_be_a_function_and_its_own_faults_are_told_to_the_client():
    def script(request):
        if "boom" in request["messages"][-1]["content"]:
            raise ValueError("no such turn")
        return Reply(request["messages"][-1]["content"].upper())

    with AnthropicServer(script) as server:
        assert client(server).invoke("hello").text == "HELLO"
        with pytest.raises(anthropic.BadRequestError, match="ValueError: no such turn"):
            client(server).invoke("boom")


def test_a_script_that_is_used_up_says_so():
    with (
        AnthropicServer([]) as server,
        pytest.raises(anthropic.BadRequestError, match="ends after 0 answers"),
    ):
        client(server).invoke("hello")


def test_tokens_are_counted_and_unknown_paths_refused():
    with AnthropicServer([]) as server:
        sdk = anthropic.Anthropic(base_url=server.url, api_key="none")
        message = {"role": "user", "content": "hello" * 100}
        assert sdk.messages.count_tokens(model="claude-test", messages=[message]).input_tokens > 100
        raw = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=5)
        raw.request("POST", "/v1/other", b"{}")
        assert raw.getresponse().status == 404
        raw.close()


def test_the_offline_planner_calls_the_same_tools_behind_the_wire():
    tools = [
        {
            "name": "explore",
            "description": "Run one tool.",
            "input_schema": {"type": "object", "properties": {}},
        }
    ]
    goal = HumanMessage(goal_message("try it", [{"tool": "noise.text", "params": {"rate": 0.1}, "units": 8}]))
    direct = OfflinePlanner().bind_tools(tools).invoke([goal])
    with AnthropicServer(behind_wire(OfflinePlanner())) as server:
        wired = client(server).bind_tools(tools).invoke([goal])
    assert wired.tool_calls == direct.tool_calls
    assert len(direct.tool_calls) == 1
    assert wired.usage_metadata["total_tokens"] == 0


@pytest.mark.parametrize("name", ["AGENTKIT_BASE_URL", "ANTHROPIC_BASE_URL"])
def test_a_base_url_in_the_environment_needs_no_key(monkeypatch, name):
    for each in ("AGENTKIT_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(each, raising=False)
    with AnthropicServer([Reply("local")]) as server:
        monkeypatch.setenv(name, server.url)
        assert chat_model("anthropic:any", load_plugins()).invoke("hello").text == "local"


def test_a_planner_without_key_model_or_address_says_what_to_set(monkeypatch):
    for each in ("AGENTKIT_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(each, raising=False)
    plugins = load_plugins()
    with pytest.raises(PlannerError, match="ANTHROPIC_API_KEY"):
        chat_model("anthropic:claude-test", plugins)
    with pytest.raises(PlannerError, match="write anthropic:MODEL"):
        chat_model("anthropic", plugins)
    with pytest.raises(PlannerError, match="Did you mean 'anthropic'"):
        chat_model("antropic:x", plugins)
    monkeypatch.setenv("AGENTKIT_BASE_URL", "localhost:8000")
    with pytest.raises(ConfigError, match="http://"):
        chat_model("anthropic:claude-test", plugins)
