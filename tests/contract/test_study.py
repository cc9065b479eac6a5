"""Study files: every fault is named with its line, all of them at once."""

from __future__ import annotations

import pytest

from agentkit.errors import ConfigError
from agentkit.study import load_study, parse_study

GOOD = """
goal: how well does it work?
campaign: {name: c, alpha: 0.1}
explore:
  - {tool: noise.text, params: {strengths: [0.1, 0.2]}, units: 4}
hypotheses:
  - tool: noise.text
    condition: typos=0.1
    metric: recall_at_1
    direction: less
    sesoi: 1e-2
"""

BROKEN = {
    "goal: x\ncampagn: {name: a}": "s.yaml:2: campagn: unknown key. Did you mean 'campaign'?",
    "goal: x\nbudget: {runs: -1}": "s.yaml:2: budget.runs: Input should be greater than or equal to 0 (got -1)",
    "goal: x\ngoal: y": "s.yaml:2: key 'goal' is given twice",
    "goal: x\nexplore:\n- tool: a\n  units: many": "s.yaml:4: explore.0.units: Input should be a valid integer",
    "goal: x\nexplore:\n- {tool: a}\n- {tol: b}": "s.yaml:4: explore.1.tool: required",
    "goal: x\n\tplanner: y": "s.yaml:2:1: not valid YAML",
    "goal: [x": "not valid YAML",
    "- just\n- a list": "s.yaml:1: a study is a mapping",
    "": "s.yaml:1: a study is a mapping",
    "planner: offline": "nothing to do: give a goal, explore steps or hypotheses",
    "goal: x\nhypotheses:\n- {tool: t, metric: m, direction: less, sesoi: 0.1}": "give either condition",
    "goal: x\nhypotheses:\n- {tool: t, metric: m, condition: c, direction: les, sesoi: 0.1}": "direction: Input should be 'greater'",
    "goal: x\nhypotheses:\n- {tool: t, metric: m, condition: c, direction: less, sesoi: .nan}": "sesoi",
    "goal: x\nexplore:\n- {tool: t, units: 4, family_p: true}": "family_p over 4 units cannot fall below 0.125; explore at least 6",
    "goal: x\nseed: -4": "s.yaml:2: seed",
    "goal: x\nseed: 1.5": "s.yaml:2: seed: Input should be a valid integer",
    "goal: x\nexplore:\n- {{tool: t}}": "s.yaml:3: a key must be text",
    "goal: x\nexplore: &a [*a]": "s.yaml:2:10: not valid YAML: found unconstructable recursive node",
    "goal: x\n---\ngoal: y": "not valid YAML",
}


def test_a_good_study_is_read_and_a_number_in_scientific_notation_is_a_number():
    file = parse_study(GOOD, "s.yaml")
    assert file.study.hypotheses[0].sesoi == 0.01
    assert file.study.explore[0].params == {"strengths": [0.1, 0.2]}
    assert file.place("explore", 0, "tool") == "s.yaml:5"
    assert file.place("hypotheses", 0, "metric") == "s.yaml:9"


def test_keys_are_taken_as_written_and_anchors_can_be_merged():
    text = "goal: x\nexplore:\n- &a {tool: t, units: 4, params: {no: 1}}\n- {<<: *a, units: 8}\nhypotheses:\n"
    text += "- {tool: t, metric: m, condition: c, direction: less, null: -0.1, sesoi: 0.1}"
    study = parse_study(text, "s.yaml").study
    assert study.hypotheses[0].null == -0.1
    assert study.explore[0].params == {"no": 1}
    assert (study.explore[1].tool, study.explore[1].units) == ("t", 8)


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_study_names_the_line_and_the_key(text):
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "s.yaml")
    assert BROKEN[text] in str(caught.value)


def test_all_faults_come_at_once_in_the_order_of_the_file():
    text = "goal: x\nbudget: {runs: -1}\ncampaign: {alpha: 2}\nplaner: y"
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "s.yaml")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4"]


def test_an_absent_file_a_folder_and_bytes_that_are_not_text_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_study(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_study(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("goal: caf\xe9".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_study(tmp_path / "latin.yaml")


def test_the_number_of_hypotheses_may_be_left_open_but_is_never_made_up():
    text = "goal: x\ncampaign: {max_hypotheses: VALUE}"
    assert parse_study(text.replace("VALUE", "open"), "s.yaml").study.campaign.max_hypotheses == "open"
    for value in ("0", "20000", "2.5", "true", "many"):
        with pytest.raises(
            ConfigError, match=r"s\.yaml:2: campaign\.max_hypotheses: a whole number from 1 to 10000, or open"
        ):
            parse_study(text.replace("VALUE", value), "s.yaml")


CLAIM = "- {tool: t, condition: x, metric: m, direction: less, sesoi: 0.1, max_units: UNITS}\n"


@pytest.mark.parametrize(
    ("campaign", "units", "said"),
    [
        ("{max_hypotheses: 5}", (80, 90, 80), r"entry 3 is entry 1 again: a claim is registered once"),
        ("{max_hypotheses: 2}", (80, 90, 100), r"3 claims do not fit max_hypotheses 2"),
    ],
)
def test_a_claim_given_twice_and_more_claims_than_the_budget_are_refused_with_the_numbers(
    campaign, units, said
):
    text = f"campaign: {campaign}\nhypotheses:\n" + "".join(CLAIM.replace("UNITS", str(n)) for n in units)
    with pytest.raises(ConfigError, match=rf"s\.yaml:2: hypotheses: {said}"):
        parse_study(text, "s.yaml")
    assert (
        len(
            parse_study(
                text.replace(campaign, "{max_hypotheses: open}").replace("80", "85", 1), "s.yaml"
            ).study.hypotheses
        )
        == 3
    )
