from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from agentkit.errors import ConfigError
from agentkit.ledger import Ledger
from agentkit.report import write_report
from tests.report.conftest import GOAL
from tests.report.worlds import World

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and the words outside SVG and style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if not {"svg", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="session")
def page(report) -> Page:
    return Page(report.html.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def markdown(report) -> str:
    return report.markdown.read_text(encoding="utf-8")


def _bytes(paths) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (paths.markdown, paths.html, *paths.figures)}


def _section(markdown: str, title: str) -> str:
    return re.split(r"^## ", markdown.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


# ---- what stands in it


def test_the_question_comes_first_then_the_verdicts_then_what_is_no_evidence(markdown):
    places = [markdown.index(f"## {title}") for title in (
        "What was asked", "Verdicts", "How the evidence", "Exploration (exploratory, not evidence)", "Campaign ledger",
        "Limits",
    )]  # fmt: skip
    assert places == sorted(places)
    assert f"> {GOAL}" in markdown


def test_every_verdict_of_the_ledger_stands_in_the_table_with_its_figures(study, markdown):
    section = _section(markdown, "Verdicts")
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `H")}
    verdicts = study.campaign.verdicts()
    assert len(rows) == len(verdicts) == 6
    for verdict in verdicts:
        row = rows[f"`{verdict.ref}`"]
        assert f"**{verdict.label}** ({verdict.reason})" in row
        assert f"| {verdict.units} ({verdict.failed} failed) |" in row
        lo, hi = (float(end) for end in re.search(r"\\\[(\S+), (\S+)\\\]", row.replace("−", "-")).groups())
        last_digit = 0.05 * (verdict.hi - verdict.lo)  # two digits of the half-width
        assert verdict.lo - last_digit <= lo <= verdict.lo
        assert verdict.hi <= hi <= verdict.hi + last_digit


def test_the_study_has_every_label_that_the_report_must_tell_apart(study):
    assert [v.label for v in study.campaign.verdicts()] == [
        "supported", "equivalent", "supported", "contradicted", "equivalent", "inconclusive",
    ]  # fmt: skip


def test_explored_values_of_registered_candidates_are_not_printed_as_results(study, markdown):
    results = _section(markdown, "Verdicts") + _section(markdown, "How the evidence of each verdict grew")
    for run in study.campaign.runs("explore"):
        table = run.measurements()
        for hypothesis in study.campaign.hypotheses():
            metric, contrast = hypothesis.spec.metric, hypothesis.spec.contrast
            if run.tool == hypothesis.spec.tool:
                explored = np.mean(table.differences(metric, contrast))
                estimate = np.mean(hypothesis.differences()[0])
                assert f"{explored:.4f}".replace("-", "−") not in results
                assert explored != estimate
    assert f"{study.campaign.runs('explore')[0].ref}" not in results


def test_what_a_planner_wrote_about_its_claim_is_not_repeated(markdown, page):
    assert "PLANNER PROSE" not in markdown
    assert "PLANNER PROSE" not in page.text


def test_the_offline_planner_is_named_as_what_it_is(markdown):
    assert "planned by the offline planner (rules and statistics, not a language model)" in markdown


def test_a_chat_model_and_a_script_are_named_as_planner(store, tmp_path):
    campaign = World(store).campaign
    words = {
        planner: write_report(
            campaign, tmp_path / planner.partition(":")[0], planner=planner
        ).markdown.read_text()
        for planner in ("anthropic:some-model", "none")
    }
    assert "planned by the chat model anthropic:some-model" in words["anthropic:some-model"]
    assert "scripted, without a planner" in words["none"]
    assert "No hypothesis was registered" in words["none"] and "Nothing was explored" in words["none"]


def test_the_campaign_ledger_shows_what_the_verdicts_rest_on(study, markdown):
    section = _section(markdown, "Campaign ledger")
    assert study.campaign.head() in section
    for words in (
        "0.05 for the whole campaign", "6 frozen of at most 20", "0.3 of 1", "5 decided together", "30 done",
        "1 failed, 559 ok", "derived from a declared root", "`toy.heads` version 2, from toy-dist 1.0",
    ):  # fmt: skip
        assert words in section


def test_a_drawn_root_is_said_to_be_drawn_and_other_campaigns_are_counted(store, tmp_path):
    world = World(store, root_seed=None)
    world.ledger.campaign("another", root_seed=1)
    section = _section(
        write_report(world.campaign, tmp_path, planner="none").markdown.read_text(), "Campaign ledger"
    )
    assert "a root that the system drew" in section and "2; each has an error level of its own" in section


def test_the_limits_name_seeds_not_models(markdown):
    limits = _section(markdown, "Limits: what may not be claimed")
    assert "seeds (units)" in limits and "nothing about other models" in limits and "tampering" in limits


def test_an_open_hypothesis_is_inconclusive_whatever_its_units_would_say(store, tmp_path):
    world = World(store, max_hypotheses=2)
    hypothesis = world.register("toy.text", condition="typo=0.4", metric="recall_at_1")
    world.confirm(hypothesis, 80, close=False)
    assert world.campaign.status(hypothesis).label == "supported"
    section = _section(
        write_report(world.campaign, tmp_path, planner="none").markdown.read_text(), "Verdicts"
    )
    assert (
        "**inconclusive** (open)" in section
        and "1 of them still open" in section
        and "supported" not in section
    )


def test_a_hypothesis_without_any_unit_is_reported_without_an_estimate(store, tmp_path):
    world = World(store)
    world.register("toy.named", condition="one", metric="loss", test="sign")
    section = _section(
        write_report(world.campaign, tmp_path, planner="none").markdown.read_text(), "Verdicts"
    )
    assert "| 0 (0 failed) | – (share up less share down) | \\[−1.0, 1.0\\] |" in section


def test_all_units_failed_is_reported_with_the_count(store, tmp_path):
    world = World(store)
    world.confirm(world.register("toy.named", condition="one", metric="score"), 20, fail=range(20))
    markdown = write_report(world.campaign, tmp_path, planner="none").markdown.read_text()
    assert "**inconclusive** (no units)" in markdown and "20 (20 failed)" in markdown


# ---- how it is written


def test_two_reports_of_one_ledger_are_equal_byte_for_byte(study, report, tmp_path):
    again = write_report(study.campaign, tmp_path, planner="offline", goal=GOAL)
    assert _bytes(again) == _bytes(report)


def test_another_process_writes_the_same_bytes(study, report, tmp_path):
    script = (
        "import sys; from pathlib import Path; from agentkit.ledger import Ledger; from agentkit.report import write_report\n"
        "with Ledger(sys.argv[1], readonly=True) as ledger:\n"
        "    campaign = ledger.campaign('addresses', max_hypotheses=20)\n"
        "    write_report(campaign, Path(sys.argv[2]), planner='offline', goal=sys.argv[3])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    store = str(study.ledger.store.path)
    environment = {"PYTHONHASHSEED": "77", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script, store, str(tmp_path), GOAL], check=True, env=environment)
    for name, content in _bytes(report).items():
        path = tmp_path / name if name.startswith("report.") else tmp_path / "figures" / name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest(), name


def test_a_users_matplotlib_settings_change_nothing_and_are_kept(study, report, tmp_path):
    import matplotlib

    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "none"}):
        again = write_report(study.campaign, tmp_path, planner="offline", goal=GOAL)
        assert matplotlib.rcParams["font.size"] == 20
    assert _bytes(again) == _bytes(report)


def test_importing_the_report_does_not_import_matplotlib():
    script = "import sys, agentkit.report; assert not [m for m in sys.modules if m.startswith('matplotlib')]"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_page_is_well_formed_and_loads_nothing(page):
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "image",
        "img",
        "foreignobject",
    }
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert "url(" not in (attributes.get("style") or "").replace("url(#", "")


def test_the_page_forbids_scripts_and_connections_by_policy(page):
    [policy] = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert any(a.get("name") == "viewport" for _, a in page.tags)


def test_ids_of_inlined_figures_are_unique_and_resolve(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a[name][1:] for _, a in page.tags for name in ("href", "xlink:href") if name in a}
    targets |= {m for _, a in page.tags for v in a.values() for m in re.findall(r"url\(#([^)]+)\)", v or "")}
    assert targets and targets <= set(ids)


def test_every_figure_is_vector_has_words_for_those_who_do_not_see_it_and_names_no_program(report, page):
    figures = [a for tag, a in page.tags if tag == "svg"]
    assert len(figures) == len(report.figures) == 4
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in figures)
    for path in report.figures:
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "<image" not in text and "Matplotlib" not in text and "dc:date" not in text


def test_both_forms_say_the_same(report, page, markdown):
    for line in (row for row in markdown.splitlines() if row.startswith("- `H")):
        words = re.sub(r"\\(.)", r"\1", line[2:].replace("`", "").replace("**", ""))
        assert "".join(words.split()) in "".join(page.text.split())


HOSTILE = "<script>alert(1)</script> | `x` $\\frac{1}{2}$ ]( 漢\u202e\n# head --> &amp; \x07"


def test_names_from_users_and_plugins_stay_words(store, tmp_path):
    world = World(store, name=f"c {HOSTILE}"[:200])
    names = [HOSTILE, "x" * 300, "plain"]
    world.explore("toy.named", 3, names=names)
    world.confirm(world.register("toy.named", {"names": names}, condition=HOSTILE, metric="score"), 20)
    paths = write_report(world.campaign, tmp_path, planner=HOSTILE, title=HOSTILE, goal=HOSTILE)
    html, markdown = paths.html.read_text(encoding="utf-8"), paths.markdown.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == [] and "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text  # shown, not run
    for text in (html, markdown):
        assert "\u202e" not in text and "\x07" not in text
    tables = [block for block in markdown.split("\n\n") if block.startswith("| ")]
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1, table
    outside_code = re.sub(r"(`+).*?\1", "", markdown)
    assert "<script" not in outside_code.replace("\\<", "")
    assert len([line for line in markdown.splitlines() if line.startswith("# ")]) == 1


def test_a_folder_that_cannot_be_made_is_named(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"report: .*file.* cannot be written"):
        write_report(study.campaign, tmp_path / "file" / "report", planner="none")


def test_an_earlier_report_is_replaced_and_no_part_is_left_behind(study, report, tmp_path):
    (tmp_path / "report.md").write_text("old")
    paths = write_report(study.campaign, tmp_path, planner="offline", goal=GOAL)
    assert paths.markdown.read_bytes() == report.markdown.read_bytes()
    assert sorted(p.name for p in Path(tmp_path).rglob("*.part")) == []


def test_a_read_only_store_can_be_reported(study, tmp_path):
    with Ledger(study.ledger.store.path, readonly=True) as ledger:
        campaign = ledger.campaign("addresses", max_hypotheses=20)
        assert write_report(campaign, tmp_path, planner="none").html.exists()
