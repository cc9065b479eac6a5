"""Heavy packages stay out until a command needs them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "ray",
    "langchain",
    "langchain_core",
    "anthropic",
    "sqlalchemy",
    "sqlmodel",
    "numpy",
    "transformers",
]
REPORT = f"import json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"


def loaded_after(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_heavy_packages_are_installed_here_so_that_their_absence_means_something():
    for name in ("torch", "langchain", "anthropic", "sqlalchemy", "numpy"):
        __import__(name)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tools", "list"], ["run", "--help"]])
def test_quick_commands_import_nothing_heavy(arguments):
    code = f"""
import sys
sys.argv = ["agentkit", *{arguments!r}]
from agentkit.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
{REPORT}
"""
    assert loaded_after(code) == []


def test_loading_every_plugin_imports_nothing_heavy():
    code = f"""
import sys
from agentkit.plugins import load_plugins
plugins = load_plugins()
assert plugins.tools and not plugins.errors, plugins.errors
{REPORT}
"""
    assert loaded_after(code) == []


def test_help_takes_at_most_a_third_of_a_second_of_cpu():
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "agentkit.cli.main", "--help"], capture_output=True, check=True, timeout=60
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    cpu_seconds()  # the first start writes byte code
    best = min(cpu_seconds() for _ in range(5))
    print(f"agentkit --help: {best:.3f} s CPU, best of 5")
    assert best <= 0.3
