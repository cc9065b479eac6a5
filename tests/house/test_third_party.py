"""Third-party packages: installed from their own wheels beside our built wheel, used, and removed without a trace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "agentkit-dropwords"

STUDY = """
campaign: {name: words, max_hypotheses: 10}
explore: [{tool: dropwords.embedding, params: {rate: 0.5, items: 4}, units: 4}]
hypotheses:
  - {tool: dropwords.embedding, params: {rate: 0.5, items: 4}, condition: rate=0.5, metric: cosine,
     direction: less, null: -0.05, sesoi: 0.05, max_units: 80}
seed: 5
store: sqlite:///words.db
report: .
workers: inline
"""

FAULTS = {
    "missing": "import a_package_that_is_not_here",
    "taken": """
import agentkit
from agentkit import Metric, Params
class P(Params):
    pass
@agentkit.tool(name="noise.text", metrics=[Metric("m", 0, 1)], version="1")
def tool(params: P, units, ctx):
    "Take a name."
@agentkit.hookimpl
def agentkit_register_tools(register):
    register(tool)
""",
    "misspelt": "import agentkit\n@agentkit.hookimpl\ndef agentkit_register_tols(register): pass",
    "signature": """
import agentkit
from agentkit import Metric, Params
@agentkit.tool(name="x.y", metrics=[Metric("m", 0, 1)], version="1")
def tool(params, seeds):
    "Have a wrong signature."
""",
}


def run(command: list[object], folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHONPATH"))}
    return subprocess.run(
        [str(c) for c in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        **{"check": True, **options},
    )


def build(source: Path, folder: Path) -> Path:
    """A wheel, built without a network from a copy (so that nothing is left in the source tree)."""
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source], folder)
    return next(folder.glob("*.whl"))


class Environment:
    """A fresh environment whose dependencies come from the tests' own, but not agentkit itself."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next((folder / "lib").glob("python*/site-packages"))
        # a plain path line: packages are found there, its own .pth files (our editable install) are not read
        (self.site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def pip(self, *arguments: object) -> None:
        run([sys.executable, "-m", "pip", "--python", self.python, *arguments], self.site)

    def agentkit(
        self, *arguments: object, folder: Path, **options: object
    ) -> subprocess.CompletedProcess[str]:
        return run([self.python, "-m", "agentkit.cli.main", *arguments], folder, **options)

    def files(self) -> set[str]:
        return {str(p.relative_to(self.site)) for p in self.site.rglob("*") if "__pycache__" not in p.parts}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("environment"))
    wheel = build(ROOT, tmp_path_factory.mktemp("our_wheel"))
    made.pip("install", "--no-deps", "--no-index", wheel)
    where = run([made.python, "-c", "import agentkit; print(agentkit.__file__)"], made.site).stdout
    assert where.startswith(str(made.site)), "the built wheel must be what is tested"
    return made


def tools(environment: Environment, folder: Path) -> set[str]:
    return {
        row["tool"]
        for row in json.loads(environment.agentkit("tools", "list", "--json", folder=folder).stdout)
    }


def test_a_package_is_listed_run_tested_and_uninstalled_without_a_trace(environment, tmp_path):
    before = environment.files()
    assert "dropwords.embedding" not in tools(environment, tmp_path)
    source = tmp_path / "source"
    shutil.copytree(EXAMPLE, source)
    (tmp_path / "wheel").mkdir()
    environment.pip("install", "--no-deps", "--no-index", build(source, tmp_path / "wheel"))
    assert "dropwords.embedding" in tools(environment, tmp_path)

    (tmp_path / "study.yaml").write_text(STUDY)
    done = environment.agentkit("run", "study.yaml", "--json", folder=tmp_path)
    verdicts = json.loads(done.stdout)["verdicts"]
    assert [v["label"] for v in verdicts] == ["supported"]
    assert (tmp_path / "report.html").exists()

    kit = run(
        [environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", source / "test_dropwords.py"],
        tmp_path,
    )
    assert " passed" in kit.stdout
    assert "failed" not in kit.stdout

    environment.pip("uninstall", "--yes", "agentkit-dropwords")
    assert environment.files() == before
    assert "dropwords.embedding" not in tools(environment, tmp_path)


def test_a_package_with_four_faults_is_named_fault_by_fault_and_leaves_the_rest_working(
    environment, tmp_path
):
    source = tmp_path / "faulty"
    source.mkdir()
    for name, text in FAULTS.items():
        (source / f"faulty_{name}.py").write_text(text)
    entries = "\n".join(f'{name} = "faulty_{name}"' for name in FAULTS)
    files = ", ".join(f'"faulty_{name}.py"' for name in FAULTS)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "agentkit-faulty"\nversion = "0.1"\n[project.entry-points.agentkit]\n{entries}\n'
        f"[tool.hatch.build.targets.wheel]\nonly-include = [{files}]\n"
    )
    (tmp_path / "wheel").mkdir()
    environment.pip("install", "--no-deps", "--no-index", build(source, tmp_path / "wheel"))
    try:
        doctor = environment.agentkit("doctor", "--json", folder=tmp_path, check=False)
        assert doctor.returncode == 1
        reasons = {
            e["name"]: (e["distribution"], e["reason"]) for e in json.loads(doctor.stdout)["not_loaded"]
        }
        assert set(reasons) == set(FAULTS)
        assert {d for d, _ in reasons.values()} == {"agentkit-faulty"}
        assert "No module named 'a_package_that_is_not_here'" in reasons["missing"][1]
        assert "tool 'noise.text' is taken by plugin 'input_noise'" in reasons["taken"][1]
        assert "Did you mean 'agentkit_register_tools'" in reasons["misspelt"][1]
        assert "wrong signature" in reasons["signature"][1]
        listed = environment.agentkit("tools", "list", folder=tmp_path)
        assert "noise.text" in listed.stdout
        assert "not loaded: missing, misspelt, signature, taken" in listed.stderr
    finally:
        environment.pip("uninstall", "--yes", "agentkit-faulty")
