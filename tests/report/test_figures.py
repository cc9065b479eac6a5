"""What an eye would object to: clipped or overlapping text, values outside their cell, an end that is not drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from agentkit.report.canvas import LOOKS, drawable, drawn, styled
from agentkit.report.dose_response import Panel, dose_response
from agentkit.report.evidence import evidence_paths
from agentkit.report.exploration import Curve, Level
from agentkit.report.facts import read_findings
from agentkit.report.forest import forest
from agentkit.report.head_map import head_map
from tests.report.test_claims import CLAIM

LONG = "KO:ENSG00000141510+KD:ENSG00000171862@0.75+OE:ENSG00000136997@3"


def _painted(make, *args):
    """The figure after layout, and its visible texts with their boxes in pixels."""
    with styled():
        figure = make(*args)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        canvas.draw()  # constrained layout settles in the second pass
        renderer = canvas.get_renderer()
        unseen = {id(label) for axes in figure.axes for label in _unseen_ticks(axes)}
        texts = [
            t
            for t in figure.findobj(Text)
            if t.get_visible() and t.get_text().strip() and id(t) not in unseen
        ]
        return figure, [
            (t, t.get_window_extent(renderer)) for t in texts if t.axes is None or t.axes.get_visible()
        ]


def _unseen_ticks(axes) -> list[Text]:
    """Labels of ticks beyond the axis: they exist, and are never painted."""
    labels = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        for tick in (*axis.majorTicks, *axis.minorTicks):
            if not low - slack <= tick.get_loc() <= high + slack:
                labels += [tick.label1, tick.label2]
    return labels


def _assert_nothing_is_clipped(figure, boxes):
    for text, box in boxes:
        inside = (
            box.x0 >= -1
            and box.y0 >= -1
            and box.x1 <= figure.bbox.width + 1
            and box.y1 <= figure.bbox.height + 1
        )
        assert inside or not box.width, (text.get_text(), box)


def _assert_apart(labels):
    for i, (a, box) in enumerate(labels):
        for b, other in labels[i + 1 :]:
            assert not box.overlaps(other), (a.get_text(), b.get_text())


def _ticks(figure, boxes, axis):
    for axes in figure.axes:
        its = {id(t) for t in getattr(axes, f"get_{axis}ticklabels")()}
        yield [(t, box) for t, box in boxes if id(t) in its]


def _findings(n: int):
    labels, contrasts = list(LOOKS), ["L3.H2", LONG, "typo=0.05", "漢字 $x_1$"]
    return [
        replace(
            CLAIM, ref=f"H{i + 1}", label=labels[i % 5], contrast={contrasts[i % 4]: 1.0, "baseline": -1.0},
            metric=["margin", "recall_at_1"][i % 2], null=0.0 if i % 3 else -0.03, lo=None if i % 7 == 3 else -0.06 - i / 100,
            log_e=None if labels[i % 5] == "invalid" else float(i),
        )
        for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize("n", [1, 6, 25])
@pytest.mark.parametrize("make", [forest, evidence_paths])
def test_figures_of_verdicts_stay_readable_however_many_there_are(make, n):
    figure, boxes = _painted(make, _findings(n))
    _assert_nothing_is_clipped(figure, boxes)
    for axis in ("x", "y"):
        for labels in _ticks(figure, boxes, axis):
            _assert_apart(labels)


def test_names_and_numbers_of_the_forest_plot_do_not_meet():
    figure, boxes = _painted(forest, _findings(8))
    texts = {t.get_text(): box for t, box in boxes}
    names = [box for words, box in texts.items() if words.startswith("H") and "baseline" in words]
    numbers = [box for words, box in texts.items() if "n=" in words]
    assert len(names) == 8 and numbers
    assert max(box.x1 for box in names) < min(axes.bbox.x0 for axes in figure.axes)
    assert min(box.x0 for box in numbers) > max(axes.bbox.x1 for axes in figure.axes)


@pytest.mark.parametrize(
    ("layers", "heads", "size"),
    [
        *[(6, 12, size) for size in (1e-4, 0.0071, 0.099, 0.101, 0.9, 120.0)],
        *[(2, 16, size) for size in (1e-4, 0.099, 0.101, 120.0)],
        (12, 12, 0.03),
        (24, 32, 0.03),
        (100, 4, 0.9),
    ],
)
def test_every_printed_value_fits_its_cell(layers, heads, size):
    values = np.random.default_rng(0).uniform(-size, size, (layers, heads))
    values[1, 1], values[0, 0] = np.nan, -size
    tested = {(0, 0): ("H3", "supported"), (1, 0): ("H125", "inconclusive")}
    figure, boxes = _painted(head_map, values, "margin", tested)
    _assert_nothing_is_clipped(figure, boxes)
    cell = figure.axes[0].transData.transform([(0, 0), (1, 1)])
    width, height = abs(cell[1] - cell[0])
    cells = [(t, box) for t, box in boxes if t.axes is figure.axes[0] and t in figure.axes[0].texts]
    assert len(cells) == (0 if heads > 16 or layers > 24 else layers * heads - 1 + len(tested))
    for text, box in cells:
        framed = (
            text.get_position()[0] == 0.5 and layers < 24
        )  # the two tested heads stand in the first column
        assert box.width <= (0.86 if framed else 0.97) * width and box.height <= height, text.get_text()
    _assert_apart(cells)
    for axis in ("x", "y"):
        for labels in _ticks(figure, boxes, axis):
            _assert_apart(labels)
    assert figure.get_figheight() < 14


def test_cells_are_readable_on_their_colour():
    values = np.linspace(-1, 1, 24).reshape(2, 12)
    figure, boxes = _painted(head_map, values, "margin", {})
    mesh = figure.axes[0].collections[0]
    for text, _ in boxes:
        if text in figure.axes[0].texts:
            value = float(text.get_text().replace("−", "-"))
            r, g, b = (_linear(c) for c in mesh.cmap(mesh.norm(value))[:3])
            background = 0.2126 * r + 0.7152 * g + 0.0722 * b
            ink = {"white": 1.0, "black": 0.0}[text.get_color()]
            contrast = (max(ink, background) + 0.05) / (min(ink, background) + 0.05)
            assert contrast >= 4.5, (value, contrast)  # WCAG AA


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _curve(kind: str, strengths) -> Curve:
    levels = [Level("baseline", 0.0, 0.9, 0.88, 0.92, 8)]
    levels += [
        Level(f"{kind}={s:g}", s, 0.9 - i / 20, 0.85 - i / 20, 0.94 - i / 20, 8)
        for i, s in enumerate(strengths)
    ]
    return Curve(kind, tuple(sorted(levels, key=lambda level: level.strength)))


@pytest.mark.parametrize(
    "strengths",
    [
        (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        (0.05, 0.1, 0.2),
        (1e-6, 1e-4, 1e-2, 1, 100),
        (-30, -15, -5, 5, 15, 30),
        tuple(np.linspace(0.01, 0.16, 16).round(2).tolist()),
        (100000.0, 200000.0, 300000.0),
    ],
)
@pytest.mark.parametrize("n_metrics", [1, 2, 4])
def test_dose_axes_label_levels_without_overlap_and_show_all_of_them(strengths, n_metrics):
    panels = [Panel(f"metric_{i}", [_curve("typo", strengths)]) for i in range(n_metrics)]
    figure, boxes = _painted(dose_response, panels)
    _assert_nothing_is_clipped(figure, boxes)
    drawn_axes = [axes for axes in figure.axes if axes.get_visible()]
    assert len(drawn_axes) == n_metrics
    for labels in _ticks(figure, boxes, "x"):
        _assert_apart(labels)
    for axes in drawn_axes:
        left, right = axes.get_xlim()
        assert left < min(0, *strengths) and right > max(strengths)
        labels = [t.get_text() for t in axes.get_xticklabels()]
        assert "0" in labels and len(labels) >= min(3, len(strengths))


def test_kinds_of_comparable_strength_share_a_panel_and_others_do_not():
    same = [_curve("typo", (0.1, 0.2, 0.4)), _curve("ocr", (0.1, 0.3, 0.9))]
    figure, _ = _painted(dose_response, [Panel("recall", same)])
    assert len(figure.axes) == 1
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["typo", "ocr"]
    other = [_curve("typo", (0.1, 0.2, 0.4)), _curve("rotate", (5, 15, 30))]
    figure, _ = _painted(dose_response, [Panel("recall", other)])
    assert len(figure.axes) == 2


def test_a_chance_level_is_drawn_with_its_name():
    chance = Level("chance", 0.0, 0.02, 0.01, 0.03, 8)
    _, boxes = _painted(dose_response, [Panel("recall", [_curve("typo", (0.1, 0.2, 0.4))], [chance])])
    assert "chance" in {t.get_text() for t, _ in boxes}


def test_the_evidence_figure_ends_at_the_stored_log_e_and_shows_the_threshold():
    finding = replace(CLAIM, path=((10, 20, 40), (1.0, 2.5, 4.5)), log_e=4.5, level=0.01)
    figure, _ = _painted(evidence_paths, [finding])
    lines = [line.get_xydata().tolist() for line in figure.axes[0].get_lines()]
    assert [40.0, 4.5] in lines[2]
    assert lines[0][0][1] == pytest.approx(np.log(100))


def test_the_path_of_a_finding_ends_at_the_evidence_of_its_verdict(study):
    for finding in read_findings(study.campaign):
        units, log_e = finding.path
        assert units[-1] == finding.units and len(units) == len(log_e)
        assert log_e[-1] == pytest.approx(finding.log_e, abs=1e-8)


def test_a_dollar_sign_is_a_character_and_an_unknown_letter_a_question_mark():
    assert drawable("漢 $\\frac{1}{2}$") == "? $\\frac{1}{2}$"
    svg = drawn(forest, [replace(CLAIM, contrast={"$x_1$ -->": 1.0, "baseline": -1.0})])
    assert svg.count("<svg") == 1


def test_labels_differ_in_more_than_colour():
    assert len({(look.marker, look.filled) for look in LOOKS.values()}) == len(LOOKS)
