"""SIGKILL the Ray actors of a study at random moments, and one of its two nodes; compare the end with a calm run.

Starts a Ray cluster of two nodes on this machine (token, no dashboard). Prints how often what was killed and how
many attempts were lost, and then what must be zero. Exit code 1 when any of it is not.

    python benchmarks/study_kills_ray.py --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
from study_kills import DRIVER, PLUGIN, STUDY, faults, finish, print_faults, start_driver

if TYPE_CHECKING:
    import subprocess

NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}
START_S = 240.0


def two_nodes() -> Any:
    """A cluster whose head and second node are processes of this machine."""
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.second = cluster.add_node(**NODE)
    cluster.wait_for_nodes(timeout=60)
    return cluster


def actors() -> list[int]:
    """Process ids of this cluster's actors, on either node: they carry its token."""
    token, found = os.environ["RAY_AUTH_TOKEN"].encode(), []
    for folder in Path("/proc").iterdir():
        try:
            is_actor = folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::Host")
            if is_actor and token in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return found


def kill_an_actor() -> bool:
    """SIGKILL one actor at random; False when none is there."""
    alive = actors()
    if not alive:
        return False
    try:
        os.kill(random.choice(alive), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def disturb(driver: subprocess.Popen[bytes], cluster: Any, kills: int, longest_s: float) -> Counter[str]:
    """Kill actors while the study runs, and the second node once half of them are dead."""
    done: Counter[str] = Counter()
    while driver.poll() is None and done["actor"] < kills:
        time.sleep(random.uniform(0, longest_s))
        done["actor"] += kill_an_actor()
        if cluster.second is not None and done["actor"] >= kills / 2:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = None
            done["node"] += 1
    return done


def attempts_lost(store: Path) -> int:
    """How many attempts ended because their worker died."""
    with sqlite3.connect(store) as connection:
        return int(connection.execute("SELECT count(*) FROM attempt_end WHERE status = 'lost'").fetchone()[0])


def main() -> int:
    """Run studies until enough kills were dealt; print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-s", type=float, default=4.0, help="longest wait between two kills")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    cluster = two_nodes()
    total: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    lost = studies = 0
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "kills_plugin.py").write_text(PLUGIN)
            (folder / "driver.py").write_text(DRIVER)
            (folder / "study.yaml").write_text(STUDY)
            finish(start_driver(folder, "calm.db"), folder, "calm.db")  # on local workers: no Ray at all
            calm = json.loads((folder / "calm.db.json").read_text())
            workers = f"workers: {{backend: ray, address: '{cluster.address}', count: 4}}"
            (folder / "study.yaml").write_text(STUDY.replace("workers: local:2", workers))
            while total["actor"] < arguments.kills:
                if cluster.second is None and not total["node"]:
                    cluster.second = cluster.add_node(**NODE)
                    cluster.wait_for_nodes(timeout=60)
                store = f"killed{studies}.db"
                driver = start_driver(folder, store)
                total += disturb(driver, cluster, arguments.kills - total["actor"], arguments.longest_s)
                finish(driver, folder, store)
                bad += Counter(faults(folder / store))
                lost += attempts_lost(folder / store)
                bad["verdicts that differ"] += json.loads((folder / f"{store}.json").read_text()) != calm
                studies += 1
    finally:
        cluster.shutdown()
    print(f"SIGKILLs: {total['actor']} of Ray actors, {total['node']} node, over {studies} studies")
    print(f"attempts lost and made again: {lost}")
    return print_faults(bad)


if __name__ == "__main__":
    sys.exit(main())
