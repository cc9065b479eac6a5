"""What may still be spent. Every step is reserved before it starts and settled when it ends, under one lock."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from agentkit.errors import BudgetError
from agentkit.study import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CURRENCIES = ("usd", "tokens", "runs", "seconds", "gpu_seconds")
WARN_AT = 0.8
SESSION, CAMPAIGN = "", ":campaign"
"""Scopes of a cap that are no tool's name; any other scope is a tool."""
Spending = dict[str, dict[str, float]]
"""Amounts by tool, then by currency."""
_KEYS = {SESSION: "", CAMPAIGN: "campaign."}
_BY = {SESSION: "", CAMPAIGN: " by the campaign"}


class Account:
    """Spent, reserved and allowed amounts of one session, for any number of threads.

    Args:
        budget: caps of the session.
        per_tool: narrower caps by tool; a tool's steps count against both.
        campaign: caps of the whole campaign; what its other sessions spent is handed in by `carry`.
        warn: receives one line when four fifths of a cap are gone.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        per_tool: Mapping[str, Budget] | None = None,
        campaign: Budget | None = None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._caps = {SESSION: budget or Budget(), CAMPAIGN: campaign or Budget(), **(per_tool or {})}
        self._spent: dict[tuple[str, str], float] = defaultdict(float)
        self._reserved: dict[tuple[str, str], float] = defaultdict(float)
        self._closed: dict[str, str] = {}
        self._unrecorded: list[tuple[str, float, str]] = []
        self._warned: set[tuple[str, str]] = set()
        self._warn = warn
        self._lock = threading.Lock()

    @property
    def budget(self) -> Budget:
        """Caps of the session."""
        return self._caps[SESSION]

    def allow(self, currency: str, cap: float | None) -> None:
        """Change the session's cap of a currency; None lifts it."""
        with self._lock:
            self._caps[SESSION] = self._caps[SESSION].model_copy(update={currency: cap})
            self._closed.pop(currency, None)

    def caps(self, scope: str) -> bool:
        """Whether anything is capped in a scope."""
        return any(
            v is not None
            for v in (self._caps.get(scope) or Budget()).model_dump(include=set(CURRENCIES)).values()
        )

    def spent(self, currency: str, scope: str = SESSION) -> float:
        """What the session, the campaign (`CAMPAIGN`) or one tool has spent of a currency."""
        with self._lock:
            return self._spent[scope, currency]

    def by_tool(self) -> dict[str, dict[str, float]]:
        """What each tool has spent in this session, by currency."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        with self._lock:
            for (scope, currency), amount in self._spent.items():
                if scope not in (SESSION, CAMPAIGN) and amount:
                    found[scope][currency] = amount
        return dict(found)

    def carry(self, spent: Mapping[str, float], scope: str = SESSION) -> None:
        """Count what earlier processes have spent, by currency.

        Several records may tell of the same spending; the largest of them counts, never their sum.
        """
        with self._lock:
            for currency, amount in spent.items():
                self._spent[scope, currency] = max(self._spent[scope, currency], amount)

    def reserve(self, tool: str = "", **estimate: float) -> Reservation:
        """Set amounts aside for one step; settle what it returns when the step has ended.

        A cap that is used up refuses even a step whose cost is unknown (estimate 0).

        Raises:
            BudgetError: the step would pass a cap; nothing is set aside.
        """
        with self._lock:
            for scope in self._scopes(tool):
                for currency, amount in estimate.items():
                    self._check(scope, currency, amount)
            for scope in self._scopes(tool):
                for currency, amount in estimate.items():
                    self._reserved[scope, currency] += amount
        return Reservation(self, tool, dict(estimate))

    def close(self, currency: str, reason: str) -> None:
        """Let no further step spend a capped currency, because what is spent can no longer be known."""
        with self._lock:
            self._closed.setdefault(currency, reason)

    def take_unrecorded(self) -> list[tuple[str, float, str]]:
        """Amounts (currency, amount, what for) settled since the last call, for the record."""
        with self._lock:
            taken, self._unrecorded = self._unrecorded, []
            return taken

    def line(self) -> str:
        """Spent and allowed, for people: `runs 3 of 40, tokens 1200`."""
        parts = []
        for currency in CURRENCIES:
            cap, spent = getattr(self.budget, currency), self.spent(currency)
            if cap is not None:
                parts.append(f"{currency} {spent:.6g} of {cap:g}")
            elif spent:
                parts.append(f"{currency} {spent:.6g}")
        return ", ".join(parts) or "nothing spent, no cap"

    def settle(self, reservation: Reservation, actual: Mapping[str, float], ref: str) -> None:
        """Replace a reservation by what the step really cost. Called by `Reservation.settle`."""
        warnings = []
        with self._lock:
            for scope in self._scopes(reservation.tool):
                for currency, amount in reservation.estimate.items():
                    self._reserved[scope, currency] -= amount
                for currency, amount in actual.items():
                    self._spent[scope, currency] += amount
                    warnings += self._near(scope, currency)
            self._unrecorded += [(currency, amount, ref) for currency, amount in actual.items() if amount]
        for line in warnings:
            self._warn(line)

    def _scopes(self, tool: str) -> list[str]:
        return [SESSION, CAMPAIGN, tool] if tool else [SESSION, CAMPAIGN]

    def _check(self, scope: str, currency: str, amount: float) -> None:
        cap = self._cap(scope, currency)
        if cap is None:
            return
        if currency in self._closed:
            raise BudgetError(f"budget: {self._closed[currency]}")
        spent, waiting = self._spent[scope, currency], self._reserved[scope, currency]
        if spent + waiting + amount > cap or spent + waiting >= cap:
            key = f"budget.{_KEYS.get(scope, f'per_tool.{scope}.')}{currency}"
            more = f", {waiting:.6g} are set aside" if waiting else ""
            need = f"; the next step may take {amount:.6g}" if amount and spent + waiting < cap else ""
            raise BudgetError(
                f"budget: {spent:.6g} of {cap:g} {currency} are spent{more}{need}; raise {key} and resume to go on"
            )

    def _near(self, scope: str, currency: str) -> list[str]:
        cap, spent = self._cap(scope, currency), self._spent[scope, currency]
        if cap is None or spent < WARN_AT * cap or (scope, currency) in self._warned:
            return []
        self._warned.add((scope, currency))
        return [f"budget   {spent:.6g} of {cap:g} {currency} are spent{_BY.get(scope, f' by {scope}')}"]

    def _cap(self, scope: str, currency: str) -> float | None:
        budget = self._caps.get(scope)
        cap: float | None = None if budget is None else getattr(budget, currency)
        return cap


class Reservation:
    """Amounts set aside for one step."""

    def __init__(self, account: Account, tool: str, estimate: dict[str, float]) -> None:
        self.account, self.tool, self.estimate = account, tool, estimate
        self._open = True

    def settle(self, ref: str = "", **actual: float) -> None:
        """The step has ended and cost this much (nothing, when it did not start). Later calls change nothing."""
        if self._open:
            self._open = False
            self.account.settle(self, actual, ref)


def spent_since(
    before: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]
) -> Spending:
    """What was spent between two sums by tool and currency; what did not rise is left out."""
    found: Spending = {}
    for tool, amounts in now.items():
        rise = {c: a - before.get(tool, {}).get(c, 0.0) for c, a in amounts.items()}
        if any(rise.values()):
            found[tool] = {c: a for c, a in rise.items() if a}
    return found
