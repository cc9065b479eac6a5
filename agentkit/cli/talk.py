"""`agentkit chat`, `ask`, `resume` and `fork`: the options, and nothing heavy until one of them is called."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Store = Annotated[str, typer.Option(help="The ledger: a path or a database URL.", envvar="AGENTKIT_STORE")]
Campaign = Annotated[
    str | None,
    typer.Option(help="The campaign; made when absent. Default: default.", envvar="AGENTKIT_CAMPAIGN"),
]
Planner = Annotated[
    str | None,
    typer.Option(
        help="offline, anthropic:MODEL, or an installed planner; else what the environment says.",
        envvar="AGENTKIT_PLANNER",
    ),
]
Approve = Annotated[
    str,
    typer.Option(
        help="auto, ask, never, or a YAML file: who may freeze claims and start long explorations.",
        envvar="AGENTKIT_APPROVE",
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        help="inline, local:2, ray:HOST:PORT; more: local:2,gpus_per_job=1.", envvar="AGENTKIT_WORKERS"
    ),
]
Module = Annotated[
    list[str] | None,
    typer.Option(
        "--module", help="Import path of a module with tools of your own.", envvar="AGENTKIT_MODULES"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines to stdout.")]
MaxRuns = Annotated[
    int | None, typer.Option(min=0, help="Runs that may be started.", envvar="AGENTKIT_MAX_RUNS")
]
MaxTokens = Annotated[
    int | None, typer.Option(min=0, help="Tokens the planner may use.", envvar="AGENTKIT_MAX_TOKENS")
]
MaxSeconds = Annotated[
    float | None, typer.Option(min=0, help="Seconds that runs may take.", envvar="AGENTKIT_MAX_SECONDS")
]
MaxGpuSeconds = Annotated[
    float | None,
    typer.Option(min=0, help="GPU seconds that runs may take.", envvar="AGENTKIT_MAX_GPU_SECONDS"),
]
BudgetUsd = Annotated[
    float | None, typer.Option(min=0, help="USD the planner may cost.", envvar="AGENTKIT_BUDGET_USD")
]
DEFAULT_STORE = "agentkit.db"


def chat(
    last: Annotated[bool, typer.Option("-c", "--continue", help="Go on with the last session.")] = False,
    session: Annotated[str | None, typer.Option(help="Go on with this session.")] = None,
    store: Store = DEFAULT_STORE,
    campaign: Campaign = None,
    planner: Planner = None,
    approve: Approve = "ask",
    workers: Workers = "local",
    module: Module = None,
    budget_usd: BudgetUsd = None,
    max_tokens: MaxTokens = None,
    max_runs: MaxRuns = None,
    max_seconds: MaxSeconds = None,
    max_gpu_seconds: MaxGpuSeconds = None,
    as_json: Json = False,
) -> None:
    """Ask in plain words; see the plan and its cost, approve, watch it run, get a verdict. A pipe's lines are turns."""
    from agentkit.cli.chat.repl import chat as talk

    caps = _caps(budget_usd, max_tokens, max_runs, max_seconds, max_gpu_seconds)
    _leave(
        talk(
            _settings(store, campaign, planner, approve, workers, module, caps, as_json),
            session=session,
            last=last,
        )
    )


def ask(
    goal: Annotated[str, typer.Argument(help="What you want to know.")],
    store: Store = DEFAULT_STORE,
    campaign: Campaign = None,
    planner: Planner = None,
    approve: Approve = "auto",
    workers: Workers = "local",
    module: Module = None,
    budget_usd: BudgetUsd = None,
    max_tokens: MaxTokens = None,
    max_runs: MaxRuns = None,
    max_seconds: MaxSeconds = None,
    max_gpu_seconds: MaxGpuSeconds = None,
    as_json: Json = False,
) -> None:
    """One question to its verdicts, then exit: 0 done, 3 budget spent, 4 an approval or an answer is needed."""
    from agentkit.cli.chat.repl import ask as ask_once

    caps = _caps(budget_usd, max_tokens, max_runs, max_seconds, max_gpu_seconds)
    _leave(ask_once(_settings(store, campaign, planner, approve, workers, module, caps, as_json), goal))


def resume(
    id: Annotated[str, typer.Argument(help="A session, or the beginning of its id.")],
    store: Store = DEFAULT_STORE,
    planner: Planner = None,
    approve: Approve = "ask",
    workers: Workers = "local",
    module: Module = None,
    budget_usd: BudgetUsd = None,
    max_tokens: MaxTokens = None,
    max_runs: MaxRuns = None,
    max_seconds: MaxSeconds = None,
    max_gpu_seconds: MaxGpuSeconds = None,
    as_json: Json = False,
) -> None:
    """Go on where a session was cut off or waits for approval: what was approved runs once, the rest is asked again."""
    from agentkit.cli.chat.repl import chat as talk

    caps = _caps(budget_usd, max_tokens, max_runs, max_seconds, max_gpu_seconds)
    settings = _settings(store, None, planner, approve, workers, module, caps, as_json)
    _leave(talk(settings, session=id, last=False, unfinished=True))


def fork(
    id: Annotated[str, typer.Argument(help="A session, or the beginning of its id.")],
    at: Annotated[
        int | None, typer.Option(help="The planner's turn to keep last; the newest unless said.")
    ] = None,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Copy a session up to a turn into a new one; the old one stays as it is."""
    from agentkit.cli.chat.forking import fork_session

    fork_session(store, id, at, as_json=as_json)


def _caps(
    usd: float | None, tokens: int | None, runs: int | None, seconds: float | None, gpu_seconds: float | None
) -> Any:
    from agentkit.study import BudgetSection

    return BudgetSection(usd=usd, tokens=tokens, runs=runs, seconds=seconds, gpu_seconds=gpu_seconds)


def _settings(
    store: str,
    campaign: str | None,
    planner: str | None,
    approve: str,
    workers: str,
    modules: list[str] | None,
    budget: Any,
    as_json: bool,
) -> Any:
    from agentkit.cli.chat.settings import Settings

    return Settings(store, campaign, planner, approve, workers, tuple(modules or ()), budget, as_json)


def _leave(code: int) -> None:
    raise typer.Exit(code)
