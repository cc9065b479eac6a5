"""The tools that look at a trained model: exact parts against brute force, and no bit of the model changed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from agentkit import Measurements, Tool
from agentkit.errors import ParamError
from agentkit_weight.bits import allocate, on_front, quantised, sensitivities
from agentkit_weight.bits_tool import bits
from agentkit_weight.curvature_tool import curvature
from agentkit_weight.errors import DataError, InfeasibleBudgetError, SiteNotHitError, UnsupportedSiteError
from agentkit_weight.finetune_tool import finetune
from agentkit_weight.landscape import filter_normalised, grid_losses, path_axes
from agentkit_weight.landscape_tool import landscape
from agentkit_weight.module_select_tool import module_select
from agentkit_weight.rank_sweep import noisy_labels
from agentkit_weight.rank_sweep_tool import rank_sweep
from agentkit_weight.sharpness_tool import sharpness
from agentkit_weight.task import Task
from tests.weight.kit import FakeContext, tiny_data, tiny_encoder, units, weights_sha256

SMALL: dict[str, Any] = {
    "target": "tiny:",
    "data": "letters:",
    "epochs": 2,
    "batch": 8,
    "lr": 2e-2,
    "r": 2,
    "strings": 8,
}
CASES: list[tuple[Tool, dict[str, Any]]] = [
    (sharpness, {"probes": 8, "lanczos": 8, "per_module": True}),
    (landscape, {"grid": 5, "dims": 2}),
    (rank_sweep, {"ranks": [1, 2, 4], "methods": ["lora", "ggpo"], "contrast": [1, 2, 4]}),
    (module_select, {"keep": 10, "tune_steps": 2}),
    (module_select, {"unit_of_removal": "rank"}),
    (bits, {"probes": 8, "calib_n": 8}),
    (curvature, {}),
]


def run(tool: Tool, ctx: FakeContext, count: int = 1, **params: Any) -> Measurements:
    small = {k: v for k, v in SMALL.items() if k in tool.params_model.model_fields}
    table = tool(tool.parse(small | params), units(count), ctx)
    tool.check(table, units(count))
    return table


@pytest.mark.parametrize(("tool", "params"), CASES, ids=[f"{t.name} {i}" for i, (t, _) in enumerate(CASES)])
def test_units_do_not_depend_on_each_other_and_the_model_keeps_every_bit(
    tool: Tool, params: dict[str, Any], ctx: FakeContext
):
    model = ctx.targets["tiny:"].model
    before = weights_sha256(model)
    together = run(tool, ctx, 2, **params)
    small = {k: v for k, v in SMALL.items() if k in tool.params_model.model_fields}
    apart = Measurements.concat(tool(tool.parse(small | params), [u], ctx) for u in reversed(units(2)))
    assert together == apart
    assert weights_sha256(model) == before
    assert not any(m._forward_hooks for m in model.modules())
    for name in together.metrics:
        values = together.array(name)
        assert all(tool.metric(name).contains(v, slack=1e-9) for v in values[np.isfinite(values)])


@pytest.mark.parametrize(("tool", "params"), CASES, ids=[f"{t.name} {i}" for i, (t, _) in enumerate(CASES)])
def test_a_half_precision_model_is_measured_and_keeps_every_bit(tool: Tool, params: dict[str, Any]):
    ctx = FakeContext({"tiny:": tiny_encoder(torch.bfloat16), "letters:": tiny_data()})
    before = weights_sha256(ctx.targets["tiny:"].model)
    assert len(run(tool, ctx, **params)) > 0
    assert weights_sha256(ctx.targets["tiny:"].model) == before


@pytest.mark.parametrize(("tool", "params"), CASES, ids=[f"{t.name} {i}" for i, (t, _) in enumerate(CASES)])
def test_an_exception_in_the_middle_leaves_no_hook_and_no_changed_bit(
    tool: Tool, params: dict[str, Any], ctx: FakeContext, monkeypatch: pytest.MonkeyPatch
):
    model = ctx.targets["tiny:"].model
    before, calls = weights_sha256(model), itertools.count()
    plain = model.encoder.layer[2].forward

    def fails_late(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 12:  # after the training, before the tool is done
            raise ZeroDivisionError
        return plain(*args, **kwargs)

    monkeypatch.setattr(model.encoder.layer[2], "forward", fails_late)
    with pytest.raises(ZeroDivisionError):
        run(tool, ctx, **params)
    assert weights_sha256(model) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.fixture
def adapters(ctx: FakeContext) -> list[str]:
    """Names of three saved adapters: plain LoRA of two units, and MGPO."""
    params = {k: v for k, v in SMALL.items() if k != "strings"} | {"methods": ["mgpo"]}
    finetune(finetune.parse(params), units(2), ctx)
    return [f"sha256:{row['adapter_sha256']}" for row in ctx.artifacts["cost.json"]["rows"]]


def test_a_saved_adapter_is_the_model_that_was_trained(ctx: FakeContext, adapters: list[str]):
    trained = run(sharpness, ctx, probes=8, lanczos=8)
    loaded = run(sharpness, ctx, probes=8, lanczos=8, adapter=adapters[0])
    for metric in trained.metrics:
        np.testing.assert_allclose(
            trained.column(metric, "baseline"), loaded.column(metric, "baseline"), rtol=1e-4, atol=1e-6
        )


def test_the_centre_of_a_landscape_is_the_unperturbed_loss_bit_for_bit(ctx: FakeContext, adapters: list[str]):
    line = run(landscape, ctx, grid=5, adapter=adapters[0])
    plane = run(landscape, ctx, grid=5, dims=2, adapter=adapters[0])
    path = run(
        landscape, ctx, grid=5, dims=2, directions="path_pca", adapter=adapters[0], others=adapters[1:]
    )
    row = run(sharpness, ctx, probes=8, lanczos=8, adapter=adapters[0])
    clean = ctx.artifacts["sharpness.json"]["rows"][0]["loss"]
    assert row.conditions[0] == "baseline"
    for table in (line, plane, path):
        assert table.column("loss", "baseline")[0] == clean
    assert len(plane.conditions) == 25


def test_between_two_adapters_the_ends_are_their_own_losses(ctx: FakeContext, adapters: list[str]):
    there = run(landscape, ctx, grid=5, directions="between", adapter=adapters[0], others=[adapters[1]])
    back = run(landscape, ctx, grid=5, directions="between", adapter=adapters[1], others=[adapters[0]])
    assert there.column("loss", "t=1")[0] == pytest.approx(back.column("loss", "baseline")[0], rel=1e-5)
    assert there.column("barrier", "path")[0] >= 0


def test_directions_are_as_long_as_the_filters_they_move():
    weights = {"w": torch.randn(5, 7, dtype=torch.float64)}
    direction = filter_normalised({"w": torch.randn(5, 7, dtype=torch.float64)}, weights)
    torch.testing.assert_close(direction["w"].norm(dim=1), weights["w"].norm(dim=1))


def test_grid_and_path_coordinates_are_those_of_the_points():
    names = [{"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(i))} for i in range(3)]
    axes, coordinates = path_axes(names, 2)
    for point, (a, b) in zip(names, coordinates, strict=True):
        rebuilt = names[-1]["w"] + a * axes[0]["w"] + b * axes[1]["w"]
        torch.testing.assert_close(rebuilt.float(), point["w"], rtol=1e-4, atol=1e-5)
    flat = grid_losses(names[-1], axes, [-1.0, 0.0, 1.0], lambda w: float(w["w"].sum()))
    expected = [
        [float((names[-1]["w"] + a * axes[0]["w"] + b * axes[1]["w"]).sum()) for b in (-1, 0, 1)]
        for a in (-1, 0, 1)
    ]
    np.testing.assert_allclose(flat, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_integer_program_equals_brute_force(seed: int):
    rng = np.random.default_rng(seed)
    layers = [f"l{i}" for i in range(6)]
    sizes = {n: int(rng.integers(10, 100)) for n in layers}
    omega = {
        n: dict(zip((2, 3, 4, 8), sorted(rng.exponential(size=4), reverse=True), strict=True)) for n in layers
    }
    limit = 0.45 * 8 * sum(sizes.values())
    best = min(
        (sum(omega[n][b] for n, b in zip(layers, choice, strict=True)), choice)
        for choice in itertools.product((2, 3, 4, 8), repeat=6)
        if sum(sizes[n] * b for n, b in zip(layers, choice, strict=True)) <= limit
    )
    found = allocate(omega, sizes, limit)
    assert sum(omega[n][b] for n, b in found.items()) == pytest.approx(best[0], rel=1e-9)
    assert sum(sizes[n] * b for n, b in found.items()) <= limit


def test_an_impossible_size_names_the_smallest_possible_one(ctx: FakeContext):
    with pytest.raises(InfeasibleBudgetError, match=r"smallest reachable is 0\.375"):
        run(bits, ctx, choices=[3, 4], size_ratio=[0.2], probes=8, calib_n=8)


def test_rounding_is_exact_on_its_own_levels_and_finer_with_more_bits():
    w = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    errors = [float((quantised(w, b) - w).norm()) for b in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    torch.testing.assert_close(quantised(quantised(w, 4), 4), quantised(w, 4))
    assert quantised(torch.zeros(2, 3), 4).abs().sum() == 0
    assert sensitivities({"w": w}, {"w": -1.0}, (2, 4))["w"] == {2: 0.0, 4: 0.0}


def test_the_pareto_table_shows_prediction_beside_measurement(ctx: FakeContext):
    run(bits, ctx, probes=8, calib_n=8, size_ratio=[0.5])
    rows = {row["allocation"]: row for row in ctx.artifacts["bits.json"]["rows"]}
    assert set(rows) == {"uniform:2", "uniform:3", "uniform:4", "uniform:8", "mixed@0.5"}
    assert rows["mixed@0.5"]["size_ratio"] <= 0.5
    assert rows["mixed@0.5"]["predicted_rise"] <= rows["uniform:4"]["predicted_rise"]
    assert {"predicted_rise", "measured_rise"} <= set(rows["uniform:2"])
    assert rows["uniform:2"]["on_front"]  # nothing is smaller
    assert [r["on_front"] for r in rows.values()] == on_front(list(rows.values()))


def test_on_the_front_is_what_no_other_allocation_beats():
    at = [(0.25, 3.0), (0.375, 1.0), (0.5, 1.0), (0.5, 0.5), (0.5, 0.5), (1.0, 0.6), (1.0, 0.1)]
    rows = [{"size_ratio": size, "measured_rise": rise} for size, rise in at]
    assert on_front(rows) == [True, True, False, True, True, False, True]


def test_label_noise_replaces_the_share_it_says_and_keeps_the_rest(ctx: FakeContext):
    from agentkit_weight.rank_sweep_tool import RankSweep

    task = Task(RankSweep(target="tiny:", data="letters:"), ctx)
    rows = task.rows(task.encoder)
    (unit,) = units(1)
    assert noisy_labels(rows, 0.0, 3, unit).rows.labels == rows.rows.labels
    noisy = noisy_labels(rows, 0.4, 3, unit)
    changed = [
        a != b
        for x, y in zip(noisy.rows.labels, rows.rows.labels, strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    assert 0.28 < np.mean(changed) < 0.52


def test_peak_excess_is_the_contrast_that_was_frozen(ctx: FakeContext):
    table = run(rank_sweep, ctx, ranks=[1, 2, 4], contrast=[1, 2, 4])
    loss = {r: table.column("test_loss", f"r={r}")[0] for r in (1, 2, 4)}
    assert table.column("peak_excess", "peak")[0] == loss[2] - max(loss[1], loss[4])


@pytest.mark.parametrize(
    ("tool", "params", "message"),
    [
        (rank_sweep, {"ranks": [1, 2], "contrast": [1, 2, 4]}, "contrast rank 4"),
        (rank_sweep, {"ranks": [1, 2, 4], "contrast": [2, 1, 4]}, "left < peak < right"),
        (rank_sweep, {"ranks": [2, 1, 2]}, "given twice"),
        (curvature, {"blocks": []}, "at least 1"),
        (finetune, {"methods": ["lora", "head"], "noises": ["neftune"]}, "head goes without input noise"),
        (finetune, {"zo": {"noise": "rademacher_dense", "rank": 4}}, "rank 4 belongs to"),
        (finetune, {"zo": {"noise": "gaussian_reference", "workers": 3}}, "the published loop"),
        (landscape, {"grid": 6}, "no centre"),
        (landscape, {"directions": "between"}, "at least 1 adapters"),
        (landscape, {"directions": "path_pca", "dims": 2, "others": ["a"]}, "at least 2 adapters"),
    ],
)
def test_params_that_cannot_be_met_are_refused_when_they_are_read(
    tool: Tool, params: dict[str, Any], message: str
):
    with pytest.raises(ParamError, match=message):
        tool.parse(params)


def test_faults_of_the_request_are_named(ctx: FakeContext, adapters: list[str]):
    with pytest.raises(ParamError, match="blocks 1 to 2 run here"):
        run(curvature, ctx, blocks=[0])
    with pytest.raises(DataError, match="no adapter file"):
        run(sharpness, ctx, adapter=__file__)
    with pytest.raises(ParamError, match="has none"):
        run(module_select, ctx, adapter="base")
    with pytest.raises(ParamError, match="keep 12"):
        run(module_select, ctx, keep=12, adapter=adapters[0])
    with pytest.raises(SiteNotHitError, match="leave out"):
        run(sharpness, ctx, adapter=adapters[0], top_layers=1)
    with pytest.raises(SiteNotHitError, match="raise top_layers"):
        run(sharpness, ctx, targets=r"layer\.0\.")
    with pytest.raises(UnsupportedSiteError, match="Embedding"):
        run(curvature, ctx, targets="word_embeddings")


def test_every_tool_registers_and_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, agentkit_weight; tools = []; agentkit_weight.agentkit_register_tools(tools.append);"
        "print(sorted(t.name for t in tools)); heavy = {'torch', 'numpy', 'sqlalchemy', 'ray', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    expected = [
        "bits",
        "curvature",
        "finetune",
        "landscape",
        "module_select",
        "rank_sweep",
        "sharpness",
        "zo_replay",
    ]
    assert names.strip() == str([f"weight.{n}" for n in expected])


def test_the_whole_model_can_be_the_site(ctx: FakeContext):
    table = run(curvature, ctx, adapter="base", top_layers=None)
    assert table.conditions == ("baseline", "block:0", "block:1", "block:2")
    assert table.array("importance_share")[0, 1:].sum() == pytest.approx(1)


def test_a_fresh_context_with_another_target_is_an_error_that_says_what_is_needed():
    from agentkit.errors import TargetError

    with pytest.raises(TargetError, match="text encoder"):
        run(curvature, FakeContext({"tiny:": object(), "letters:": tiny_data()}))
    with pytest.raises(TargetError, match="labelled words"):
        run(curvature, FakeContext({"tiny:": tiny_encoder(), "letters:": object()}))
