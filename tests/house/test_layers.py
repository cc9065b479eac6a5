"""The picture of the house, drawn from its imports: every arrow points down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "agentkit"
PLUGINS = ROOT / "plugins"

# Lowest floor first; modules of one entry do not import each other, a package's own files may.
FLOORS = [
    ("F0", {"errors"}),
    ("F0", {"seeds", "canon"}),
    ("F0", {"types"}),
    ("F0", {"measurements"}),
    ("F1", {"tools", "prompts", "config", "study"}),
    ("F1", {"hookspecs"}),
    ("F2", {"plugins", "stats"}),
    ("F3", {"workers"}),
    ("F4", {"ledger"}),
    ("F5", {"agent", "report"}),
    ("F6", {"testing"}),
    ("F7", {"laboratory"}),
    ("F8", {"web", "mcp"}),
    ("F8", {"cli"}),  # the command line opens the other doors
]
HEIGHT = {name: height for height, (_, names) in enumerate(FLOORS) for name in names}
TOP = len(FLOORS)  # agentkit/__init__.py hands out public names of every floor, the heavy ones lazily


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> list[tuple[int, str]]:
    """Every imported name (`a.b.c` for `from a.b import c`), relative ones resolved, also inside functions."""
    found: list[tuple[int, str]] = []
    package = (
        module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    )
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            found += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
    return found


def top_module(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "agentkit" and len(parts) > 1 and parts[1] in HEIGHT else None


def core_files() -> list[Path]:
    return [p for p in sorted(CORE.rglob("*.py")) if p != CORE / "__init__.py"]


def test_every_module_of_the_core_has_a_floor():
    homeless = {m.relative_to(CORE).parts[0].removesuffix(".py") for m in core_files()} - set(HEIGHT)
    assert homeless == set()


def test_no_arrow_points_up_or_sideways():
    wrong = []
    for path in core_files():
        own = path.relative_to(CORE).parts[0].removesuffix(".py")
        for line, dotted in imports(path):
            other = top_module(dotted)
            if other not in (None, own) and HEIGHT[other] >= HEIGHT[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} ({own}) imports {dotted} ({other})")
    assert wrong == []


def test_the_core_never_names_a_plugin():
    names = {p.name for p in PLUGINS.iterdir() if p.is_dir()}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {dotted}"
        for path in sorted(CORE.rglob("*.py"))
        for line, dotted in imports(path)
        if dotted.split(".")[0] in names
    ]
    assert wrong == []


def test_plugins_import_only_public_names_and_never_each_other():
    import agentkit

    public = {f"agentkit.{name}" for name in agentkit.__all__} | {"agentkit.errors"}
    wrong = []
    for plugin in sorted(p for p in PLUGINS.iterdir() if p.is_dir()):
        for path in sorted(plugin.rglob("*.py")):
            for line, dotted in imports_of_plugin(path):
                first = dotted.split(".")[0]
                allowed = dotted == "agentkit" or dotted in public or dotted.startswith("agentkit.errors.")
                if first == "agentkit" and not allowed:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {dotted}, which is not public")
                if first.startswith("agentkit_") and first != plugin.name:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports another plugin: {dotted}")
    assert wrong == []


def imports_of_plugin(path: Path) -> list[tuple[int, str]]:
    """Absolute imports only: a plugin's own relative ones stay inside it."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import agentkit.laboratory", ["agentkit.laboratory"]),
        ("from agentkit import laboratory", ["agentkit.laboratory"]),
        ("from agentkit.laboratory import Lab", ["agentkit.laboratory.Lab"]),
        ("def f():\n    from agentkit.cli import main", ["agentkit.cli.main"]),
        ("from ..cli import main", ["agentkit.cli.main"]),
    ],
)
def test_the_reader_sees_every_form_of_import(tmp_path, monkeypatch, statement, expected):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "agentkit" / "ledger" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement)
    assert [name for _, name in imports(path)] == expected
    assert all(HEIGHT[top_module(name) or "errors"] > HEIGHT["ledger"] for name in expected)
