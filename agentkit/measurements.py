"""`Measurements`: the typed long table (unit, condition, metric, value) that every tool returns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agentkit.errors import MeasurementError, unknown
from agentkit.types import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from agentkit.types import Unit


class Row(NamedTuple):
    """One measurement, as it is written to JSON and SQL."""

    unit: int
    condition: str
    metric: str
    value: float


class Measurements:
    """A long table, columnar inside: for each metric one float64 array of shape (units, conditions).

    Build it with `from_array`, `from_arrays` or `builder`. A value may be absent (a metric that some
    condition does not have), never NaN or infinite; `baseline` is always one of the conditions.

    Attributes:
        units: unit indices, ascending.
        conditions: names, `baseline` first, the others in the tool's order.
        metrics: names, in the tool's order.
    """

    def __init__(
        self, units: Sequence[int], conditions: Sequence[str], values: Mapping[str, NDArray[np.float64]]
    ) -> None:
        order = np.argsort(np.asarray(units, dtype=np.int64), kind="stable")
        self.units: tuple[int, ...] = tuple(int(units[i]) for i in order)
        rest = [c for c in conditions if c != BASELINE]
        self.conditions: tuple[str, ...] = (BASELINE, *rest)
        self.metrics: tuple[str, ...] = tuple(values)
        _require_distinct("unit", self.units)
        _require_distinct("condition", list(conditions))
        if BASELINE not in conditions:
            raise MeasurementError(
                "the condition 'baseline' is missing: measure the untouched target on every unit"
            )
        place = {c: i for i, c in enumerate(conditions)}
        columns = np.array([place[c] for c in self.conditions], dtype=np.intp)
        self._values = {m: np.asarray(v, dtype=np.float64)[order][:, columns] for m, v in values.items()}

    @classmethod
    def from_array(
        cls, units: Sequence[Unit], conditions: Sequence[str], metric: str, values: ArrayLike
    ) -> Measurements:
        """One metric from a full array of shape (units, conditions).

        Raises:
            MeasurementError: wrong shape, no `baseline`, or a NaN or infinity (condition and unit named).
        """
        return cls.from_arrays(units, conditions, {metric: values})

    @classmethod
    def from_arrays(
        cls, units: Sequence[Unit], conditions: Sequence[str], values: Mapping[str, ArrayLike]
    ) -> Measurements:
        """Several metrics, each from a full array of shape (units, conditions); raises as `from_array`."""
        arrays = {m: np.asarray(v, dtype=np.float64) for m, v in values.items()}
        for metric, array in arrays.items():
            if array.shape != (len(units), len(conditions)):
                raise MeasurementError(
                    f"metric {metric!r} has shape {array.shape}; "
                    f"{len(units)} units x {len(conditions)} conditions were expected"
                )
            for u, c in np.argwhere(~np.isfinite(array)):
                raise MeasurementError(
                    f"metric {metric!r} is {array[u, c]} in condition {conditions[c]!r}, unit {units[u].index}; "
                    "return finite numbers only"
                )
        return cls([u.index for u in units], conditions, arrays)

    @classmethod
    def builder(cls, units: Sequence[Unit]) -> MeasurementsBuilder:
        """A table filled row by row: `b.add(unit, condition, metric, value)`, then `b.build()`."""
        return MeasurementsBuilder(units)

    @classmethod
    def from_rows(cls, rows: Iterable[Row | tuple[int, str, str, float]]) -> Measurements:
        """From long rows (unit index, condition, metric, value) in any order."""
        table = [Row(*r) for r in rows]
        units = sorted({r.unit for r in table})
        conditions, metrics = _in_order(r.condition for r in table), _in_order(r.metric for r in table)
        at_unit = {u: i for i, u in enumerate(units)}
        at_condition = {c: i for i, c in enumerate(conditions)}
        values = {m: np.full((len(units), len(conditions)), np.nan) for m in metrics}
        for row in table:
            if not math.isfinite(row.value):
                raise MeasurementError(
                    f"metric {row.metric!r} is {row.value} in condition {row.condition!r}, unit {row.unit}; "
                    "return finite numbers only"
                )
            values[row.metric][at_unit[row.unit], at_condition[row.condition]] = row.value
        return cls(units, conditions, values)

    @classmethod
    def concat(cls, parts: Iterable[Measurements]) -> Measurements:
        """Tables of disjoint (unit, condition, metric) cells as one, whatever order they arrive in.

        Raises:
            MeasurementError: when two parts hold different values for one cell.
        """
        merged: dict[tuple[int, str, str], float] = {}
        for part in parts:
            for row in part.rows():
                if merged.setdefault(row[:3], row.value) != row.value:
                    raise MeasurementError(
                        f"two parts disagree on {row.metric!r} of condition {row.condition!r}, unit {row.unit}: "
                        f"{merged[row[:3]]!r} and {row.value!r}"
                    )
        return cls.from_rows((*cell, value) for cell, value in merged.items())

    def array(self, metric: str) -> NDArray[np.float64]:
        """Values of one metric, shape (units, conditions); NaN where the tool gave none."""
        if metric not in self._values:
            raise MeasurementError(unknown("metric", metric, self.metrics))
        return self._values[metric].copy()

    def column(self, metric: str, condition: str) -> NDArray[np.float64]:
        """Values of one metric in one condition, shape (units,)."""
        if condition not in self.conditions:
            raise MeasurementError(unknown("condition", condition, self.conditions))
        return self.array(metric)[:, self.conditions.index(condition)]

    def differences(self, metric: str, coefficients: Mapping[str, float]) -> NDArray[np.float64]:
        """`sum_d coefficient_d * value(unit, d)`, shape (units,); NaN where a value is absent."""
        return sum(
            (k * self.column(metric, c) for c, k in sorted(coefficients.items())),
            start=np.zeros(len(self.units)),
        )

    def rows(self) -> Iterator[Row]:
        """Long rows by unit, then condition, then metric, in this table's order."""
        for u, unit in enumerate(self.units):
            for c, condition in enumerate(self.conditions):
                for metric in self.metrics:
                    if not math.isnan(value := float(self._values[metric][u, c])):
                        yield Row(unit, condition, metric, value)

    def select(
        self, units: Iterable[int] | None = None, conditions: Iterable[str] | None = None
    ) -> Measurements:
        """The part of the table about some units and conditions (`baseline` always stays)."""
        keep_units = set(self.units if units is None else units)
        keep = set(self.conditions if conditions is None else conditions) | {BASELINE}
        u = [i for i, unit in enumerate(self.units) if unit in keep_units]
        c = [i for i, name in enumerate(self.conditions) if name in keep]
        return Measurements(
            [self.units[i] for i in u],
            [self.conditions[i] for i in c],
            {m: v[np.ix_(u, c)] for m, v in self._values.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Columns as JSON lists; absent cells are null. `from_json` gives the same table back."""
        return {
            "units": list(self.units),
            "conditions": list(self.conditions),
            "values": {
                m: [[None if math.isnan(x) else x for x in row] for row in v.tolist()]
                for m, v in self._values.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurements:
        """The table that `to_json` wrote."""
        shape = (len(data["units"]), len(data["conditions"]))
        values = {m: np.array(v, dtype=np.float64).reshape(shape) for m, v in data["values"].items()}
        return cls(data["units"], data["conditions"], values)

    def to_parquet(self, path: str) -> None:
        """Write the long table as Parquet (needs pyarrow)."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MeasurementError("Parquet needs pyarrow; run: pip install pyarrow") from None
        columns = list(zip(*self.rows(), strict=True)) or [(), (), (), ()]
        pq.write_table(
            pa.table(dict(zip(Row._fields, map(list, columns), strict=True))), path, compression="zstd"
        )

    def __len__(self) -> int:
        return sum(int(np.isfinite(v).sum()) for v in self._values.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measurements) and sorted(self.rows()) == sorted(other.rows())

    __hash__ = None  # type: ignore[assignment]  # a table is compared, never a key

    def __repr__(self) -> str:
        return (
            f"Measurements({len(self.units)} units x {len(self.conditions)} conditions, "
            f"{', '.join(self.metrics)})"
        )


class MeasurementsBuilder:
    """Collects rows for the units it was made for; `build` checks and returns the table."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._units = {u.index for u in units}
        self._rows: list[Row] = []

    def add(self, unit: Unit, condition: str, metric: str, value: float) -> None:
        """One measurement; a NaN, an infinity or a foreign unit is refused at once."""
        if unit.index not in self._units:
            raise MeasurementError(f"unit {unit.index} was not asked for")
        if not math.isfinite(value):
            raise MeasurementError(
                f"metric {metric!r} is {value} in condition {condition!r}, unit {unit.index}; "
                "return finite numbers only"
            )
        self._rows.append(Row(unit.index, condition, metric, float(value)))

    def build(self) -> Measurements:
        """The table; every unit that was asked for must have at least its baseline."""
        table = Measurements.from_rows(self._rows)
        if missing := self._units - set(table.units):
            raise MeasurementError(f"units {sorted(missing)} have no measurement")
        return table


def _require_distinct(kind: str, names: Sequence[object]) -> None:
    seen: set[object] = set()
    for name in names:
        if name in seen:
            raise MeasurementError(f"{kind} {name!r} is given twice")
        seen.add(name)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
