"""SIGKILL the driver and the workers of a study at random moments, resume each time, and compare the end.

Prints how often what was killed, and then what must be zero: outcomes lost, outcomes recorded twice,
verdicts that differ from an undisturbed run. Exit code 1 when any of them is not zero.

    python benchmarks/study_kills.py --kills 100
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PLUGIN = '''
import time
import agentkit
from agentkit import Metric, Params

class Nudge(Params):
    seconds: float = 0.01

@agentkit.tool(name="kills.nudge", metrics=[Metric("level", 0, 1)], version="1")
def nudge(params: Nudge, units, ctx):
    """Draw a level and nudge it: up a lot, down a little, or not at all."""
    table = agentkit.Measurements.builder(units)
    for unit in units:
        time.sleep(params.seconds)
        level = 0.3 + 0.4 * unit.rng("level").random()
        for name, shift in {"baseline": 0.0, "up": 0.25, "down": -0.08, "same": 0.0}.items():
            noise = 0.05 * unit.rng(name).random() if shift else 0.0
            table.add(unit, name, "level", level + shift + noise)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(nudge)
'''

STUDY = """
campaign: {name: kills, max_hypotheses: 10}
explore: [{tool: kills.nudge, units: 24}]
hypotheses:
  - {tool: kills.nudge, condition: up, metric: level, direction: greater, null: 0.1, sesoi: 0.1, max_units: 200}
  - {tool: kills.nudge, condition: down, metric: level, direction: less, sesoi: 0.05, max_units: 400}
  - {tool: kills.nudge, condition: same, metric: level, direction: equivalent, sesoi: 0.1, max_units: 400}
  - {tool: kills.nudge, condition: up, metric: level, direction: less, sesoi: 0.1, max_units: 100}
seed: 7
workers: local:2
"""

DRIVER = """
import json, sys
from pathlib import Path
from agentkit.laboratory import Lab
from agentkit.study import load_study
file = load_study("study.yaml")
with Lab(f"sqlite:///{sys.argv[1]}", workers=file.study.workers, modules=["kills_plugin"]) as lab:
    result = lab.run(file, resume=True)
Path(sys.argv[1] + ".json").write_text(json.dumps(result.verdicts, sort_keys=True))
"""


def start_driver(folder: Path, store: str) -> subprocess.Popen[bytes]:
    """A driver in its own session, so that a kill ends it and nothing else."""
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    log = (folder / f"{store}.log").open("ab")
    command = [sys.executable, "driver.py", store]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )


def children(pid: int) -> list[int]:
    """Process ids of the children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:  # the thread or the process has just ended
            continue
    return found


def kill_once(driver: subprocess.Popen[bytes], what: str) -> bool:
    """Kill the driver or one of its workers; False when there was nothing to kill."""
    if driver.poll() is not None:
        return False
    if what == "driver":
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        return True
    workers = children(driver.pid)
    if not workers:
        return False
    try:
        os.kill(random.choice(workers), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def disturbed_run(folder: Path, store: str, kills: int, longest_s: float) -> Counter[str]:
    """Run the study to its end while killing; starts over with a fresh copy when it ends before enough kills."""
    done: Counter[str] = Counter()
    driver = start_driver(folder, store)
    while sum(done.values()) < kills:
        time.sleep(random.uniform(0, longest_s))
        if driver.poll() is not None:
            return done
        what = random.choice(["driver", "worker", "worker"])
        if kill_once(driver, what):
            done[what] += 1
        if driver.poll() is not None:
            driver = start_driver(folder, store)
    finish(driver, folder, store)
    return done


def finish(driver: subprocess.Popen[bytes], folder: Path, store: str) -> None:
    """Let a driver end by itself; an error of its own ends everything with its last words."""
    if driver.wait(timeout=600) != 0:
        raise SystemExit((folder / f"{store}.log").read_text()[-3000:])


FAULTS = {
    "units without an outcome": "SELECT count(*) FROM run_unit u "
    "LEFT JOIN outcome o ON o.run = u.run AND o.unit = u.unit WHERE o.id IS NULL",
    "outcomes recorded twice": "SELECT count(*) FROM "
    "(SELECT 1 FROM outcome GROUP BY run, unit HAVING count(*) > 1)",
    "units failed": "SELECT count(*) FROM outcome WHERE status != 'ok'",
}


def faults(store: Path) -> dict[str, int]:
    """Rows that must not exist, counted by SQL."""
    with sqlite3.connect(store) as connection:
        return {name: connection.execute(query).fetchone()[0] for name, query in FAULTS.items()}


def print_faults(bad: Counter[str]) -> int:
    """Each count that must be zero; returns the exit code."""
    for fault in (*FAULTS, "verdicts that differ"):
        print(f"{fault}: {bad[fault]}")
    return 1 if any(bad.values()) else 0


def main() -> int:
    """Run until enough kills were dealt; print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-s", type=float, default=2.5, help="longest wait between two kills")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kills_plugin.py").write_text(PLUGIN)
        (folder / "study.yaml").write_text(STUDY)
        (folder / "driver.py").write_text(DRIVER)
        began = time.monotonic()
        finish(start_driver(folder, "calm.db"), folder, "calm.db")
        print(f"undisturbed study: {time.monotonic() - began:.1f} s")
        calm = json.loads((folder / "calm.db.json").read_text())
        total: Counter[str] = Counter()
        bad: Counter[str] = Counter()
        studies = 0
        while sum(total.values()) < arguments.kills:
            store = f"killed{studies}.db"
            total += disturbed_run(folder, store, arguments.kills - sum(total.values()), arguments.longest_s)
            if not (folder / f"{store}.json").exists():
                finish(start_driver(folder, store), folder, store)
            bad += Counter(faults(folder / store))
            bad["verdicts that differ"] += json.loads((folder / f"{store}.json").read_text()) != calm
            studies += 1
        outcomes = sum(v["units"] for v in calm)
    print(f"SIGKILLs: {total['driver']} of the driver, {total['worker']} of workers, over {studies} studies")
    print(f"confirm units in the undisturbed study: {outcomes}")
    return print_faults(bad)


if __name__ == "__main__":
    sys.exit(main())
