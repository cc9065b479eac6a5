"""What all figures share: palette, sizes, a matplotlib Figure without pyplot, and SVG that is equal byte for byte.

Text is drawn as outlines of matplotlib's own font: the same picture on every machine, whatever fonts it has.
matplotlib is imported inside the functions, so that importing the report costs nothing.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

from agentkit.report.document import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

P = ParamSpec("P")
WIDTH = 7.2
"""Inches; about 690 CSS pixels, a column of print."""
INK, FAINT, GRID, BAND = "#1a1a1a", "#5f6368", "#d9dce0", "#e6e9ee"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1a1a1a")
"""Okabe & Ito's palette: distinct to every kind of colour vision; markers differ as well."""
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Look(NamedTuple):
    """How a verdict's label is drawn: colour, marker, filled or hollow."""

    colour: str
    marker: str
    filled: bool


LOOKS = {
    "supported": Look("#0072B2", "o", True),
    "contradicted": Look("#D55E00", "D", True),
    "equivalent": Look("#007A5A", "s", True),
    "inconclusive": Look("#5f6368", "o", False),
    "invalid": Look("#1a1a1a", "X", True),
}

STYLE: Any = {  # Any: matplotlib types every key as a literal
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "axes.unicode_minus": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "agentkit",
    "text.parse_math": False,  # a `$` in a condition's name is a character, not mathematics
    "text.usetex": False,
    "path.simplify": False,
    "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.06,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, laid out so that nothing is clipped."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy(axes: Axes) -> None:
    """Thin frame at left and bottom only, light grid behind."""
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, length=3)


def handle(label: str, linewidth: float = 1.8) -> Line2D:
    """The legend's entry for a verdict's label."""
    from matplotlib.lines import Line2D

    look = LOOKS[label]
    return Line2D(
        [], [], color=look.colour, marker=look.marker, markersize=6, linewidth=linewidth, label=label,
        markerfacecolor=look.colour if look.filled else "white", markeredgewidth=1.2,
    )  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Our style alone, whatever settings the user has; theirs come back afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def drawn(make: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> str:
    """The figure that `make` returns, as SVG text: no date, no program version, ids from a fixed salt."""
    buffer = io.StringIO()
    with styled():
        figure = make(*args, **kwargs)
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing)
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def drawable(words: str, longest: int = 0) -> str:
    """Words that the font can draw, on one line; the middle left out where they pass `longest` characters."""
    known = _characters()
    text = "".join(c if ord(c) in known else "?" for c in shown(words))
    if not longest or len(text) <= longest:
        return text
    head = (longest - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
