"""`-p key=value`: YAML, but for a target, whose colon may end the value."""

import pytest

from agentkit.cli.pairs import pair
from agentkit.errors import ParamError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=8", 8), ("x=0.5", 0.5), ("x=[a, b]", ["a", "b"]), ("x=true", True), ("x=a=b", "a=b"), ("x=", None),
        ("x=digits:cnn", "digits:cnn"), ("x=minilm:", "minilm:"), ("x=effnet-lite0:", "effnet-lite0:"), ("x={a: 1}", {"a": 1}),
    ],
)  # fmt: skip
def test_a_value_is_read_as_yaml_and_a_target_as_itself(text, value):
    assert pair(text) == ("x", value)


@pytest.mark.parametrize("text", ["x", "=3", "x=[1"])
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(ParamError, match="-p "):
        pair(text)
