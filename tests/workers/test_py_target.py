"""`py:module:factory`: a user's own function as a target, in the worker and never in the driver."""

from __future__ import annotations

import sys

import pytest

from agentkit.errors import TargetError, TargetUnavailableError
from agentkit.plugins import load_plugins
from agentkit.workers.py_target import fingerprint, py


@pytest.fixture
def my_nets(tmp_path, monkeypatch):
    file = tmp_path / "my_nets.py"
    file.write_text(
        "import math\n\ndef make():\n    return [math.pi]\n\ndef make_on(device):\n    return device\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield file
    sys.modules.pop("my_nets", None)


def test_the_scheme_is_a_plugin_like_any_other():
    plugins = load_plugins()
    assert plugins.targets["py"] is py
    assert plugins.target_uris({"target": "py:my_nets:make"}) == ["py:my_nets:make"]


def test_a_factory_is_called_with_the_device_if_it_takes_one(my_nets):
    assert py.load("my_nets:make", "cpu") == [3.141592653589793]
    assert py.load("my_nets:make_on", "cuda:0") == "cuda:0"


def test_the_fingerprint_follows_the_source_and_imports_nothing(my_nets):
    before = fingerprint("my_nets:make")
    assert "my_nets" not in sys.modules
    assert fingerprint("my_nets:make_on") != before == fingerprint("my_nets:make")
    my_nets.write_text(my_nets.read_text() + "# edited\n")
    assert fingerprint("my_nets:make") != before


def test_what_is_not_there_is_named_with_near_names(my_nets):
    with pytest.raises(TargetError, match="write py:module:factory"):
        fingerprint("my_nets")
    with pytest.raises(TargetUnavailableError, match="no module 'my_netz'"):
        fingerprint("my_netz:make")
    with pytest.raises(TargetUnavailableError, match="Did you mean 'make'"):
        py.load("my_nets:makes", "cpu")
