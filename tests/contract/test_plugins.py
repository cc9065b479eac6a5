"""Discovery: a broken plugin is named and never takes the others with it."""

from __future__ import annotations

import sys
import textwrap

import pytest

from agentkit.errors import ParamError, PluginError, TargetError
from agentkit.plugins import load_plugins

GOOD = """
import agentkit
from agentkit import Metric, Params

class P(Params):
    target: str = "minilm:"

@agentkit.tool(name="{name}", metrics=[Metric("score", 0, 1)], version="1")
def tool(params: P, units, ctx):
    "Measure nothing."

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(tool)
"""

FAULTS = {
    "missing_dependency": (
        "import a_package_that_is_not_here",
        "ModuleNotFoundError.*a_package_that_is_not_here",
    ),
    "taken_name": (GOOD.format(name="noise.text"), "tool 'noise.text' is taken by plugin 'input_noise'"),
    "misspelt_hook": (
        "import agentkit\n@agentkit.hookimpl\ndef agentkit_register_tool(register): pass",
        "no hook 'agentkit_register_tool'. Did you mean 'agentkit_register_tools'",
    ),
    "wrong_signature": (
        GOOD.format(name="x.y").replace("(params: P, units, ctx)", "(params: P, seeds)"),
        "wrong signature",
    ),
    "wrong_hook_argument": (
        "import agentkit\n@agentkit.hookimpl\ndef agentkit_register_tools(registry): pass",
        "registry",
    ),
    "raises_in_hook": (
        "import agentkit\n@agentkit.hookimpl\ndef agentkit_register_tools(register): raise RuntimeError('boom')",
        "RuntimeError: boom",
    ),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "half_registers": (
        GOOD.format(name="half.tool") + "    raise ValueError('after the first')",
        "ValueError: after the first",
    ),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_plugin_is_named_with_its_fault_and_the_rest_keep_working(module, fault):
    text, reason = FAULTS[fault]
    names = [module(f"bad_{fault}", text), module("good_plugin", GOOD.format(name="good.tool"))]
    plugins = load_plugins(modules=names)
    assert [e.name for e in plugins.errors] == [f"bad_{fault}"]
    assert __import__("re").search(reason, plugins.errors[0].reason), plugins.errors[0].reason
    assert {"good.tool", "noise.text", "attention.perturb_heads"} <= set(plugins.tools)
    assert "half.tool" not in plugins.tools


def test_all_faults_at_once_are_all_named(module):
    names = [module(f"bad_{fault}", text) for fault, (text, _) in FAULTS.items()]
    assert len(load_plugins(modules=names).errors) == len(FAULTS)


def test_strict_mode_raises_instead(module, monkeypatch):
    monkeypatch.setenv("AGENTKIT_STRICT", "1")
    with pytest.raises(PluginError, match="boom"):
        load_plugins(modules=[module("bad_strict", FAULTS["raises_in_hook"][0])])


def test_a_denied_plugin_is_never_imported(module):
    name = module("never_imported", "raise AssertionError('imported')")
    assert load_plugins(modules=[name], deny=[name]).errors == ()
    assert name not in sys.modules


def test_an_observer_that_raises_is_logged_and_the_others_are_told(module, caplog):
    told = "import agentkit\nSEEN = []\n@agentkit.hookimpl\ndef agentkit_after_run(run, measurements): "
    names = [module("sad_observer", told + "1 / 0"), module("glad_observer", told + "SEEN.append(run)")]
    load_plugins(modules=names).after_run({"run": "R1"}, None)
    assert sys.modules["glad_observer"].SEEN == [{"run": "R1"}]
    assert "agentkit_after_run of sad_observer failed" in caplog.text


def test_unknown_tools_and_schemes_offer_near_names():
    plugins = load_plugins()
    with pytest.raises(ParamError, match=r"no tool 'noise.txt'. Did you mean 'noise.text'"):
        plugins.tool("noise.txt")
    with pytest.raises(TargetError, match="no target scheme 'minlm:'. Did you mean 'minilm:'"):
        plugins.loader("minlm:")


def test_target_uris_are_found_wherever_they_stand_in_the_params():
    plugins = load_plugins()
    params = {"a": "minilm:", "b": ["addresses:", {"c": "addresses:"}], "d": "no:target", "e": 3}
    assert plugins.target_uris(params) == ["addresses:", "minilm:"]


def test_only_tools_that_can_use_a_gpu_get_one(module):
    plain = module("gpu_plain", GOOD.format(name="gpu.plain"))
    able = module(
        "gpu_able", GOOD.format(name="gpu.able").replace('version="1"', 'version="1", any_device=True')
    )
    plugins = load_plugins(modules=[plain, able]).with_gpus(0.5)
    assert (plugins.tool("gpu.plain").resources.gpus, plugins.tool("gpu.able").resources.gpus) == (0, 0.5)
    assert plugins.owner("gpu.able").name == load_plugins(modules=[able]).owner("gpu.able").name
    assert load_plugins(modules=[able]).with_gpus(None).tool("gpu.able").resources.gpus == 0
