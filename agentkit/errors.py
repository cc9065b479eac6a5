"""Every error agentkit raises on purpose: it names the thing, the place and the next step.

The command line turns any `AgentkitError` into one line and exit code 2 (or the class's own
`exit_code`); anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class AgentkitError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 2


class ConfigError(AgentkitError):
    """A setting, a flag or a study file says something that cannot be done."""


class MissingExtraError(AgentkitError):
    """An optional package is needed and absent; the message holds the pip line."""


class PluginError(AgentkitError):
    """A plugin broke its contract: a tool with a wrong signature, a taken name, a misspelt hook."""


class PluginMismatchError(PluginError):
    """A worker or the ledger knows another version of a plugin than the job asks for."""


class ToolError(AgentkitError):
    """A tool cannot do what it was asked on this target (unhit site, unreachable radius, no gradient)."""


class ParamError(ToolError):
    """A tool's params are unknown, of the wrong type, or out of range."""


class MeasurementError(ToolError):
    """A tool returned a table that is incomplete, not finite, or not about the units it was given."""


class TargetError(AgentkitError):
    """A target is unknown, cannot be loaded, or is not what was registered."""


class TargetUnavailableError(TargetError):
    """A target's package or file is absent; the message holds the next step."""


class TargetChangedError(TargetError):
    """Other bytes stand behind a URI than those a hypothesis or job was registered with."""


class TargetModifiedError(TargetError):
    """A tool wrote to the weights of a target that later jobs would have used."""


class StatsError(AgentkitError):
    """A statistical claim is not well posed (range, direction, effect of interest)."""


class LedgerError(AgentkitError):
    """The store cannot be read or written, or what it holds is damaged."""


class SpecError(LedgerError):
    """A hypothesis's spec is refused; the message names the field, the value and what is allowed."""


class RuleViolation(LedgerError):  # noqa: N818 - the project's word for it, printed with its code
    """The database itself refused a statement; `code` is AK001 to AK008."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class VerificationError(LedgerError):
    """`verify` found damage; the message names the first bad row or rule."""

    exit_code = 1


class WorkerError(AgentkitError):
    """A job cannot be run, or its worker is gone."""


class UnsatisfiableError(WorkerError):
    """No worker that could ever exist here satisfies the job's resources."""


class NondeterministicError(WorkerError):
    """Two workers computed different values for one cell of a tool that promises equal ones."""


class CampaignLockedError(LedgerError):
    """Another driver holds the campaign; the message names its process and host."""


class PlannerError(AgentkitError):
    """The planner is unknown, lacks a key, or its service refused."""


class LoopError(PlannerError):
    """The planner says nothing, or the same thing again and again; it was reminded once."""

    exit_code = 1


class StoppedError(AgentkitError):
    """Whoever asked has gone: what ran was ended, and nothing more is started. What was recorded stays."""

    exit_code = 130


class ApprovalError(AgentkitError):
    """A call waits for somebody's word and nobody is there to give it; the session can be resumed."""

    exit_code = 4


class BudgetError(AgentkitError):
    """A cap would be passed; nothing was spent on the refused step."""

    exit_code = 3


def near_names(name: str, known: Iterable[str]) -> str:
    """A sentence that offers what the user may have meant: near names first, else the whole list."""
    names = sorted(set(known))
    if close := difflib.get_close_matches(name, names, n=3, cutoff=0.6):
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    if not names:
        return "None is known."
    shown = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return f"Known: {shown}."


def unknown(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> str:
    """One line for a name that nobody knows: what kind of thing, the name, near names, the next step."""
    line = f"no {kind} {name!r}. {near_names(name, known)}"
    return f"{line} {hint}".rstrip()
