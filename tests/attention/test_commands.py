import pytest

from agentkit.errors import ConfigError
from agentkit_attention.commands import read_settings


def test_a_hunts_settings_are_read_and_tuples_stay_tuples(tmp_path):
    file = tmp_path / "hunt.yaml"
    file.write_text("k: 6\nu_post: [0.5, 1]\noptions: {w: 1.5}\n")
    assert read_settings(file) == {"k": 6, "u_post": (0.5, 1), "options": {"w": 1.5}}


@pytest.mark.parametrize(
    ("text", "message"),
    [("units: 3", "at least k"), ("k: 2\nround: 3", "'rounds'"), ("k: [", "hunt.yaml"), ("- k", "mapping")],
)
def test_a_faulty_hunt_is_refused_with_the_file_and_near_names(tmp_path, text, message):
    file = tmp_path / "hunt.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_settings(file)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        read_settings(tmp_path / "gone.yaml")
