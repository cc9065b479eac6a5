"""`agentkit mcp serve`: the tools and the ledger of this machine for any MCP host."""

from __future__ import annotations

from typing import Annotated

import typer

from agentkit.cli.talk import Workers  # noqa: TC001 - typer reads the annotation

app = typer.Typer(no_args_is_help=True, help="Serve tools and ledger to an MCP host, on stdin and stdout.")


@app.callback()
def group() -> None:
    """Serve tools and ledger to an MCP host, on stdin and stdout."""


@app.command()
def serve(
    store: Annotated[
        str, typer.Option(help="Ledger path or URL.", envvar="AGENTKIT_STORE")
    ] = "sqlite:///agentkit.db",
    campaign: Annotated[
        str,
        typer.Option(help="The campaign that calls act on; made when absent.", envvar="AGENTKIT_CAMPAIGN"),
    ] = "default",
    workers: Workers = "local",
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", help="A tool that may be called, as often as needed; all unless said."),
    ] = None,
    allow_register: Annotated[
        bool, typer.Option("--allow-register", help="Let the host freeze claims; without it only dry runs.")
    ] = False,
    max_runs: Annotated[
        int | None, typer.Option(min=0, help="Runs this server may start.", envvar="AGENTKIT_MAX_RUNS")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds its runs may take.", envvar="AGENTKIT_MAX_SECONDS")
    ] = None,
    max_gpu_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="GPU seconds its runs may take.", envvar="AGENTKIT_MAX_GPU_SECONDS"),
    ] = None,
    module: Annotated[
        list[str] | None,
        typer.Option(
            "--module", help="Import path of a module with tools of your own.", envvar="AGENTKIT_MODULES"
        ),
    ] = None,
) -> None:
    """Serve one MCP client on stdin and stdout; what happens is told on stderr."""
    from agentkit.mcp.command import serve as serve_here
    from agentkit.study import BudgetSection

    budget = BudgetSection(runs=max_runs, seconds=max_seconds, gpu_seconds=max_gpu_seconds)
    serve_here(
        store,
        campaign=campaign,
        workers=workers,
        tools=tool,
        budget=budget,
        allow_register=allow_register,
        modules=module or (),
    )
