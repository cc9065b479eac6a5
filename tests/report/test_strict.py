from __future__ import annotations

from agentkit.report import uncited_claims

TEXT = """\
# Report

Removing L3.H2 has no effect.

H3 is supported: removing L3.H5 lowers the margin.

> The user hopes that heads are equivalent.

## Notes

The claim V2.1 is contradicted.
Head L0.H1 was confirmed.

### Exploration (exploratory, not evidence)

Head L1.H1 was confirmed here.

#### A detail

It is significant.

## After

Nothing is proven.
"""


def test_verdict_words_without_a_citation_are_listed_unless_marked_exploratory():
    assert uncited_claims(TEXT) == [
        "Removing L3.H2 has no effect.",
        "Head L0.H1 was confirmed.",
        "Nothing is proven.",
    ]


def test_our_own_report_has_none(report):
    assert uncited_claims(report.markdown.read_text(encoding="utf-8")) == []
