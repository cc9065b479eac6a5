"""Each picture exists, shows what was measured, and says that it is exploratory."""

import numpy as np
import pytest

from agentkit import Measurements
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.pictures import lines, trade_off
from agentkit_attention.probe_run import by_layer


def test_several_strengths_leave_a_curve_for_every_head(units, ctx):
    params = PerturbHeads(sites="L5.H0-1", technique="scale", strength=(0.0, 0.5, 2.0))
    table = perturb_heads(params, units, ctx)
    axis = ctx.artifacts["strengths.svg"].axes[0]
    assert axis.get_xlabel() == "strength of scale"
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["L5.H0", "L5.H1"]
    shown = axis.containers[0].lines[0].get_ydata()
    base = table.column("margin", "baseline")
    expected = [(table.column("margin", f"L5.H0:scale@{s:g}") - base).mean() for s in (0.0, 0.5, 2.0)]
    assert shown == pytest.approx(expected)


def test_probe_accuracy_is_drawn_by_layer_beside_chance():
    rows = [(u, c, "accuracy", v) for u in range(3) for c, v in (
        ("baseline", 0.5), ("L0", 0.7), ("shuffled:L0", 0.5), ("L1", 0.9), ("shuffled:L1", 0.5),
    )]  # fmt: skip
    axis = by_layer(Measurements.from_rows(rows)).axes[0]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == [
        "probe",
        "shuffled labels",
        "class frequencies",
    ]
    assert axis.containers[0].lines[0].get_ydata() == pytest.approx([0.7, 0.9])


def test_the_trade_off_starts_at_no_guidance_and_needs_both_metrics():
    rows = [(u, c, m, v) for u in range(3) for c, m, v in (
        ("baseline", "fd", 10.0), ("baseline", "judge", 0.9), ("hunted=0.5", "fd", 20.0), ("hunted=0.5", "judge", 0.92),
        ("hunted=1", "fd", 40.0), ("hunted=1", "judge", 0.91),
    )]  # fmt: skip
    table = Measurements.from_rows(rows)
    line = trade_off(table).axes[0].containers[0].lines[0]
    assert line.get_xdata() == pytest.approx([10, 20, 40])
    assert line.get_ydata() == pytest.approx([0.9, 0.92, 0.91])
    assert trade_off(Measurements.from_rows([r for r in rows if r[2] == "judge"])) is None


def test_many_lines_go_without_a_legend():
    many = {str(i): {0.0: np.zeros(2)} for i in range(13)}
    assert lines(many, x="x", y="y").axes[0].get_legend() is None
