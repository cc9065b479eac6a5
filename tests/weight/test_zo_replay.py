"""A byte log and the base weights rebuild the model, and branch it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentkit.errors import ParamError
from agentkit_weight.errors import LogMismatchError, ReplicaDivergedError
from agentkit_weight.finetune_tool import finetune
from agentkit_weight.zo_log import ZoLog
from agentkit_weight.zo_replay_tool import zo_replay
from tests.weight.kit import FakeContext, as_bytes, tiny_data, tiny_encoder, units, weights_sha256

ZO = {"steps": 9, "objective": "f1", "eps": 0.05, "lr": 0.01, "workers": 3, "rank": 2}
PARAMS = {
    "target": "tiny:",
    "data": "letters:",
    "methods": ["zo"],
    "epochs": 2,
    "batch": 8,
    "lr": 2e-2,
    "zo": ZO,
}


@pytest.fixture
def trained(ctx: FakeContext) -> tuple[FakeContext, dict[str, float], str]:
    """A context that holds a log, what the run measured, and the log's name."""
    table = finetune(finetune.parse(PARAMS), units(1), ctx)
    (row,) = [r for r in ctx.artifacts["cost.json"]["rows"] if r["condition"] == "zo"]
    return ctx, {m: table.column(m, "zo")[0] for m in table.metrics}, f"sha256:{row['zo_log_sha256']}"


def replay(ctx: FakeContext, log: str, **params: Any):
    table = zo_replay(zo_replay.parse({"log": log, **params}), units(1), ctx)
    zo_replay.check(table, units(1))
    return table


def test_base_weights_and_log_alone_give_the_trained_model_back(trained):
    ctx, measured, log = trained
    fresh = FakeContext({"tiny:": tiny_encoder(), "letters:": tiny_data()}, stored=ctx.stored)
    table = replay(fresh, log)
    assert table.column("digest_equal", "replay") == [1]
    for metric in ("accuracy_clean", "accuracy_typo", "macro_f1_typo", "loss"):
        assert table.column(metric, "replay")[0] == measured[metric]
    audit = fresh.artifacts["audit.json"]
    assert audit["head_equal"]
    assert (measured["log_bytes"], measured["weights_bytes"], measured["log_rebuilds"]) == (27, 4 * 4096, 1)
    assert audit["log_bytes"] == 27
    assert audit["weights_bytes"] == 4 * 4096


def test_dropping_a_worker_is_a_branch_and_the_audit_counts_its_bytes(trained):
    ctx, _, log = trained
    before = weights_sha256(ctx.targets["tiny:"].model)
    table = replay(ctx, log, drop_workers=[2], only_workers=[0])
    assert weights_sha256(ctx.targets["tiny:"].model) == before
    assert table.conditions == ("baseline", "replay", "drop:2", "only:0")
    weights = {n: ctx.artifacts[f"weights-{n}.safetensors"] for n in table.conditions}
    site = next(iter(weights["replay"]))
    assert not weights["drop:2"][site].equal(weights["replay"][site])
    assert [row["records"] for row in ctx.artifacts["audit.json"]["workers"]] == [9, 9, 9]


def test_until_stops_early_and_zero_is_the_base(trained):
    ctx, _, log = trained
    table = replay(ctx, log, until=0)
    assert table.column("digest_equal", "replay") == [1]
    assert table.column("loss", "replay") == table.column("loss", "baseline")


def test_another_byte_or_another_base_is_found(trained):
    ctx, _, log = trained
    stored = ZoLog.read(ctx.read_artifact(log.removeprefix("sha256:")))
    arrays = stored.arrays()
    arrays["bytes"] = arrays["bytes"].copy()
    arrays["bytes"][4, 1, 0] ^= 1
    ctx.stored["changed"] = as_bytes("log.npz", arrays)
    with pytest.raises(ReplicaDivergedError, match="step 9"):
        replay(ctx, "sha256:changed")
    assert replay(ctx, "sha256:changed", verify=False).column("digest_equal", "replay") == [0]
    model = ctx.targets["tiny:"].model
    model.encoder.layer[2].output.dense.weight.data[0, 0] += 1
    with pytest.raises(LogMismatchError, match="base weights"):
        replay(ctx, log)


def test_workers_and_steps_the_log_does_not_have_are_refused(trained):
    ctx, _, log = trained
    with pytest.raises(ParamError, match="workers 0 to 2"):
        replay(ctx, log, drop_workers=[3])
    with pytest.raises(ParamError, match="9 steps"):
        replay(ctx, log, until=10)
    with pytest.raises(ParamError, match="no file"):
        replay(ctx, "/nowhere.npz")
    with pytest.raises(LogMismatchError, match="not a byte log"):
        replay(ctx, __file__)


def brier():
    """What a `py:` objective's factory returns: here the mean squared error of the words' probabilities."""
    return lambda logits, labels: (logits.softmax(1) - torch.eye(3)[labels]).square().sum(1).mean()


@pytest.mark.parametrize(
    ("make", "error"),
    [("not_finite", "NonFiniteLossError"), ("always_zero", "DegenerateLossError"), ("brier", "")],
)
def test_an_objective_of_ones_own_is_found_by_its_uri_in_a_lab(make: str, error: str, tmp_path):
    """In a lab, since only there a `py:` URI is looked up, loaded and hashed."""
    import agentkit
    from agentkit.errors import ToolError

    params = PARAMS | {
        "target": "py:tests.weight.kit:tiny_encoder",
        "data": "py:tests.weight.kit:tiny_data",
        "zo": ZO | {"objective": f"py:tests.weight.test_zo_replay:{make}", "steps": 12},
    }
    with agentkit.lab(f"sqlite:///{tmp_path}/lab.db", workers="inline") as lab:
        toolbox = lab.toolbox(lab.open_campaign("own"))
        ask = {"tool": "weight.finetune", "params": params, "units": 1}
        if error:
            with pytest.raises(ToolError, match=f"{error}: step"):
                toolbox.call("c", "explore", ask)
        else:
            log = toolbox.call("c", "explore", ask)["metrics"]["log_bytes"]
            assert (log["baseline"], log["conditions"], log["mean"]) == (0, ["zo"], [36])


def not_finite():
    return lambda logits, labels: float("nan")


def always_zero():
    return lambda logits, labels: 0.0
