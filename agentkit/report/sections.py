"""The report as a document: what was asked, verdicts first, then everything that is not evidence and says so."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentkit import __version__
from agentkit.report import explored
from agentkit.report.canvas import drawn
from agentkit.report.claims import ESTIMATE, claim_line, numbers_of, sentence, where_line
from agentkit.report.document import (
    Block,
    Bullets,
    Document,
    Heading,
    Inline,
    Paragraph,
    Picture,
    Table,
    code,
    faint,
    label,
    strong,
    text,
)
from agentkit.report.evidence import evidence_paths
from agentkit.report.forest import forest
from agentkit.report.numbers import NONE, decimals_for, fixed, interval, number
from agentkit.stats.eprocess import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentkit.report.facts import Facts, Finding, ToolWork

LABELS = ("supported", "contradicted", "equivalent", "inconclusive", "invalid")
OFFLINE = "planned by the offline planner (rules and statistics, not a language model)"


def build(facts: Facts, *, planner: str, title: str | None, goal: str) -> Document:
    """The whole report of one campaign."""
    name = title or f"Report of campaign {facts.key}"
    blocks = (
        Heading(1, text(name)),
        Paragraph(text("Campaign ", code(facts.key), "; ", planner_line(planner), ".")),
        *_asked(goal),
        *_verdicts(facts),
        *_evidence(facts.findings),
        *explored.section(facts),
        *_ledger(facts),
        *_limits(facts),
    )
    return Document(name, blocks)


def planner_line(planner: str) -> str:
    """Who proposed what was tested; the labels are never the planner's."""
    if planner == "offline":
        return OFFLINE
    if planner in ("", "none"):
        return "scripted, without a planner"
    return f"planned by the chat model {planner}"


def _asked(goal: str) -> Iterator[Block]:
    yield Heading(2, text("What was asked"))
    if goal.strip():
        yield Paragraph(text(goal), note=True)
    else:
        yield Paragraph(
            text("No goal was stated; the explorations and hypotheses below were given one by one.")
        )


def _verdicts(facts: Facts) -> Iterator[Block]:
    findings = facts.findings
    yield Heading(2, text("Verdicts"))
    if not findings:
        yield Paragraph(
            text("No hypothesis was registered in this campaign, so nothing can be said from it.")
        )
        return
    yield Paragraph(_summary(findings))
    yield Table(
        ("Verdict", "Label (reason)", "Claim", "n (failed)", "Estimate", "Interval"),
        tuple(_verdict_row(f) for f in findings),
        numeric=frozenset({3, 4, 5}),
        caption=(
            "n: paired units, measured on fresh seeds after the claim was frozen. Interval: C(a), valid at whatever "
            "unit the test stopped, at the level a that the whole campaign earned."
        ),
        cards=True,
    )
    yield Picture(
        "forest",
        drawn(forest, findings),
        f"Estimates and intervals of {len(findings)} hypotheses against the smallest effect of interest.",
        text(
            "Estimates with their intervals C(a); the grey band holds effects smaller than the smallest of interest."
        ),
        min_width=560,
    )
    yield Heading(3, text("In words"))
    yield Bullets(tuple(text(code(f.ref), " ", sentence(f)) for f in findings))


def _summary(findings: Sequence[Finding]) -> Inline:
    counts = {name: sum(f.label == name for f in findings) for name in LABELS}
    parts: list[Inline] = []
    for name, count in counts.items():
        if count:
            parts.append(text(", " if parts else "", strong(str(count)), " ", label(name)))
    n_open = sum(f.is_open for f in findings)
    still = f"; {n_open} of them still open" if n_open else ""
    plural = "hypothesis" if len(findings) == 1 else "hypotheses"
    return text(f"{len(findings)} frozen {plural}: ", *parts, f"{still}.")


def _verdict_row(finding: Finding) -> tuple[Inline, ...]:
    estimate, ends = numbers_of(finding)
    unit = () if finding.test == "bounded_mean" else (" ", faint(text(ESTIMATE[finding.test])))
    return (
        text(code(finding.ref)),
        text(label(finding.label), " ", faint(text(finding.reason.replace("_", " ")))),
        text(claim_line(finding), " ", faint(where_line(finding))),
        text(str(finding.units), " ", faint(text(f"{finding.failed} failed"))),
        text(estimate, *unit),
        text(ends),
    )


def _evidence(findings: Sequence[Finding]) -> Iterator[Block]:
    if not findings:
        return
    yield Heading(2, text("How the evidence of each verdict grew"))
    yield Picture(
        "evidence",
        drawn(evidence_paths, findings),
        f"Log e against units for {len(findings)} hypotheses, each with the threshold of its level.",
        text(
            "Natural logarithm of e against units, and its last value; the dashed line is log(1/a), which a label must "
            "reach. All panels share one scale, cut at three times the highest threshold. The evidence is valid at "
            "whatever unit it is looked at."
        ),
        min_width=560,
    )
    yield Table(
        ("Verdict", "log e", "Needed", "Level a", "Weight", "Units", "Closed", "At event", "C(α), alone"),
        tuple(_evidence_row(f) for f in findings),
        numeric=frozenset({1, 2, 3, 4, 5, 7, 8}),
        caption="C(α), alone: the interval at the full α, for one hypothesis, not adjusted for selection.",
    )


def _evidence_row(finding: Finding) -> tuple[Inline, ...]:
    lo, hi = finding.unadjusted
    spread = (hi - lo) / 2 if lo is not None and hi is not None else finding.sesoi
    alone = interval(lo, hi, decimals_for(spread)) if finding.label != "invalid" else number(None)
    return (
        text(code(finding.ref)),
        text(fixed(finding.log_e, 2)),
        text(fixed(math.log(1 / finding.level), 2)),
        text(number(finding.level)),
        text(number(finding.weight)),
        text(f"{finding.units} of {finding.max_units}"),
        text(finding.close_reason.replace("_", " ") or "open"),
        text(str(finding.as_of_seq or NONE)),
        text(alone),
    )


def _ledger(facts: Facts) -> Iterator[Block]:
    spent = math.fsum(f.weight for f in facts.findings)
    most = "a number left open" if facts.max_hypotheses == "open" else f"at most {facts.max_hypotheses}"
    k_star = max((f.k_star for f in facts.findings), default=0)
    rows: list[tuple[str, Inline]] = [
        (
            "Error level α",
            text(f"{number(facts.alpha)} for the whole campaign (false discovery rate, online e-BH)"),
        ),
        ("Hypotheses", text(f"{len(facts.findings)} frozen of {most}")),
        ("Weights spent", text(f"{number(spent)} of 1")),
        ("k*", text(f"{k_star} decided together")),
        ("Campaigns in this store", text(f"{facts.n_campaigns}; each has an error level of its own")),
        ("Runs", text(f"{len(facts.explorations)} explore, {facts.n_confirm_runs} confirm")),
        ("Attempts of runs", text(_counts(facts.attempts))),
        ("Units explored", text(_counts(facts.explore_units))),
        ("Units confirmed", text(_counts(facts.confirm_units))),
        ("Seeds", text(_seed_words(facts.seed_origin))),
        ("Chain head", text(code(facts.head))),
        *(
            ("Tool", text(code(tool), f" version {version}, from {source}"))
            for tool, version, source in facts.tools
        ),
        ("Rendered by", text(f"agentkit {__version__}, statistics engine {ENGINE_VERSION}")),
    ]
    yield Heading(2, text("Campaign ledger"))
    yield Table(("Entry", "Value"), tuple((text(name), value) for name, value in rows))
    yield from _work(facts)
    yield Paragraph(
        text(
            "Check it: ", code(f"agentkit verify DB --anchor {facts.head}"),
            " re-derives every seed, recomputes every verdict and compares the chain with this head.",
        )
    )  # fmt: skip


def _work(facts: Facts) -> Iterator[Block]:
    """How far every tool's jobs are, and what they took."""
    if facts.work:
        yield Table(
            ("Tool", "Runs", "Units answered", "Worker seconds", "Peak memory", "Device", "Deterministic"),
            tuple(_work_row(work) for work in facts.work),
            numeric=frozenset({1, 2, 3, 4}),
            caption="What the jobs took, as their workers told it. Deterministic: such algorithms were asked for.",
        )


def _work_row(work: ToolWork) -> tuple[Inline, ...]:
    device = f" + {work.peak_device_bytes / 2**20:.0f} on the device" if work.peak_device_bytes else ""
    return (
        text(code(work.tool)),
        text(str(work.runs)),
        text(f"{work.answered} of {work.units}"),
        text(f"{work.seconds:.1f}"),
        text(f"{work.peak_rss / 2**20:.0f} MiB{device}" if work.peak_rss else NONE),
        text(", ".join(work.devices) or NONE),
        text("yes" if work.deterministic else "no"),
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items())) or "none"


def _seed_words(origin: str) -> str:
    if origin == "declared":
        return (
            "derived from a declared root: whoever knew it could have tried claims beforehand, so these verdicts "
            "rest on trust in the author"
        )
    return "derived from a root that the system drew and no planner or tool saw; new seeds for every frozen claim"


def _limits(facts: Facts) -> Iterator[Block]:
    yield Heading(2, text("Limits: what may not be claimed"))
    yield Bullets(
        (
            text(
                "Verdicts hold for seeds (units) drawn from the tools' declared pools. They say nothing about other "
                "models or data sets; a claim about those needs models or data sets as units."
            ),
            text(
                f"Of the decided hypotheses, an expected share of at most {number(facts.alpha)} is decided wrongly, "
                "in this campaign. Opening many campaigns is visible in the store, not prevented."
            ),
            text(
                "'No effect' may be said only where the label is ", label("equivalent"),
                ", and only up to the smallest effect of interest. ", label("inconclusive"),
                " means that the units do not decide, not that there is nothing.",
            ),
            text(
                "A decided effect need not matter: compare the interval with the smallest effect of interest. "
                "Effects that no hypothesis asked about are not covered."
            ),
            text(
                "Ranges that a tool declares are trusted until a value breaks them; failed units count as the worst case. "
                "The chain shows tampering only against a head noted elsewhere, such as the one above."
            ),
        )
    )  # fmt: skip
