"""Finetuning compares methods on equal terms and leaves the user's model as it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agentkit import Measurements, Metric
from agentkit.errors import ParamError
from agentkit_weight.finetune_tool import finetune
from tests.weight.kit import FakeContext, TinyData, tiny_data, tiny_encoder, units, weights_sha256

SMALL: dict[str, Any] = {"target": "tiny:", "data": "letters:", "epochs": 2, "batch": 8, "lr": 2e-2, "r": 2}
ALL = ["ggpo", "mgpo", "sam", "asam", "awp_lora", "zo", "head", "labels_shuffled"]
ZO = {"steps": 6, "objective": "f1", "eps": 0.05, "workers": 2}


def run(ctx: FakeContext, count: int = 1, **params: Any) -> Measurements:
    table = finetune(finetune.parse(SMALL | params), units(count), ctx)
    finetune.check(table, units(count))
    return table


def columns(table: Measurements, condition: str) -> dict[str, list[float]]:
    return {m: table.column(m, condition).tolist() for m in table.metrics}


def test_no_method_noise_or_dtype_changes_a_bit_of_the_users_model(ctx: FakeContext):
    model = ctx.targets["tiny:"].model
    before = weights_sha256(model)
    modes = [m.training for m in model.modules()]
    for dtype in ("float32", "bfloat16"):
        run(ctx, methods=ALL, noises=["none", "token_mask", "neftune", "advstyle"], zo=ZO, dtype=dtype)
        assert weights_sha256(model) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [m.training for m in model.modules()] == modes


def test_a_half_precision_target_is_trained_and_not_written():
    ctx = FakeContext({"tiny:": tiny_encoder(torch.bfloat16), "letters:": tiny_data()})
    before = weights_sha256(ctx.targets["tiny:"].model)
    table = run(ctx, methods=["ggpo", "mgpo", "sam", "zo"], zo=ZO)
    assert weights_sha256(ctx.targets["tiny:"].model) == before
    assert table.column("loss", "baseline")[0] < math.log(3)


def test_an_exception_in_mid_step_leaves_no_trace(ctx: FakeContext, monkeypatch: pytest.MonkeyPatch):
    from agentkit_weight import methods

    model = ctx.targets["tiny:"].model
    before = weights_sha256(model)

    def fail(self, state):
        state.pass_(self._noise(state))
        raise ZeroDivisionError

    monkeypatch.setattr(methods.GgpoStep, "step", fail)
    with pytest.raises(ZeroDivisionError):
        run(ctx, methods=["ggpo"], noises=["neftune"])
    assert weights_sha256(model) == before
    assert not any(m._forward_hooks for m in model.modules())


def test_strength_zero_is_the_baseline_bit_for_bit_after_a_full_training(ctx: FakeContext):
    table = run(
        ctx,
        methods=["lora", "ggpo", "mgpo", "sam", "asam", "awp_lora"],
        noises=["none", "token_mask", "neftune", "advstyle"],
        ggpo={"sigma": 0, "beta": 0},
        mgpo={"rho": 0},
        sam={"rho": 0},
        asam={"rho": 0},
        awp={"gamma": 0},
        token_mask={"p": 0},
        neftune={"alpha": 0},
        advstyle={"p": 0},
        budget="passes",
    )
    assert len(table.conditions) == 24
    for condition in table.conditions:
        assert columns(table, condition) == columns(table, "baseline"), condition
    assert len({row["adapter_sha256"] for row in ctx.artifacts["cost.json"]["rows"]}) == 1


def test_every_method_is_not_the_baseline_at_its_default_strength(ctx: FakeContext):
    table = run(ctx, methods=ALL, zo=ZO, epochs=4)
    for condition in table.conditions[1:]:
        assert columns(table, condition) != columns(table, "baseline"), condition


@pytest.mark.parametrize("noise", ["token_mask", "neftune", "advstyle"])
def test_every_input_noise_is_not_the_baseline_with_one_pass_a_step_or_two(ctx: FakeContext, noise: str):
    table = run(ctx, methods=["lora", "sam"], noises=[noise])
    assert table.conditions == ("baseline", f"lora+{noise}", f"sam+{noise}")
    for condition in table.conditions[1:]:
        assert columns(table, condition) != columns(table, "baseline"), condition


def test_adversarial_style_moves_what_strings_differ_in_and_climbs_the_loss():
    from agentkit_weight.inputs import AdversarialStyle
    from agentkit_weight.tagging import Batch

    states = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    keep = torch.ones(6, 5, dtype=torch.bool)
    keep[2, 3:] = False
    nowhere = torch.empty(0, dtype=torch.long)
    batch = Batch(states, keep, nowhere, nowhere, nowhere)
    style = AdversarialStyle(p=1.0)

    class Cached:
        cached, device = True, "cpu"

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)) / x.std(0, correction=0)

    with style.active(units(1)[0], Cached()):
        moved = style.on_batch(batch).inputs
        first = [s.detach().clone() for s in style.sizes]
        means = torch.stack([states[i, keep[i]].mean(0) for i in range(6)])
        torch.testing.assert_close(first[0][0], means.std(0, correction=0))
        for i in range(6):  # only mean and spread of a channel moved, and both did
            before, after = states[i, keep[i]], moved[i, keep[i]].detach()
            torch.testing.assert_close(scaled(after).abs(), scaled(before).abs(), rtol=1e-4, atol=1e-4)
            assert (after.mean(0) != before.mean(0)).all()
        for _ in range(100):
            style.on_batch(batch).inputs.square().sum().backward()
        assert all((now > was).all() for now, was in zip(style.sizes, first, strict=True))


def test_adversarial_style_needs_a_model_that_can_be_run_from_the_trained_layers():
    from agentkit_weight.errors import UnsupportedSiteError
    from agentkit_weight.inputs import AdversarialStyle

    class Whole:
        cached, device, model = False, "cpu", torch.nn.Identity()

    with (
        pytest.raises(UnsupportedSiteError, match="Identity cannot be run from there; use neftune"),
        AdversarialStyle(p=1.0).active(units(1)[0], Whole()),
    ):
        pass


def test_zero_steps_of_zo_are_the_untouched_model_under_its_head(ctx: FakeContext):
    table = run(ctx, methods=["zo", "head"], zo={"steps": 0})
    for metric in ("accuracy_clean", "macro_f1_typo", "exact_clean", "loss", "weight_noise_rise"):
        np.testing.assert_allclose(
            table.column(metric, "zo"), table.column(metric, "head"), rtol=1e-5, atol=1e-6
        )


def test_units_give_the_same_measurements_together_alone_or_in_reverse(ctx: FakeContext):
    together = run(ctx, 2, methods=["mgpo", "ggpo", "zo"], noises=["none", "token_mask"], zo=ZO)
    params = finetune.parse(
        SMALL | {"methods": ["mgpo", "ggpo", "zo"], "noises": ["none", "token_mask"], "zo": ZO}
    )
    alone = Measurements.concat(finetune(params, [u], ctx) for u in reversed(units(2)))
    assert together == alone


def test_conditions_may_be_computed_apart(ctx: FakeContext):
    whole = run(ctx, methods=["mgpo", "sam"])
    parts = []
    for asked in ("mgpo", "sam"):
        ctx.asked = frozenset({asked})
        parts.append(run(ctx, methods=["mgpo", "sam"]))
    assert Measurements.concat(parts) == whole


def test_shuffled_labels_stay_near_the_majority_rate(ctx: FakeContext):
    table = run(ctx, 2, methods=["labels_shuffled"], epochs=8)
    majority = max(
        np.mean([t == name for row in tiny_data().tags for t in row])
        for name in ("first", "vowel", "consonant")
    )
    assert table.column("accuracy_clean", "labels_shuffled").mean() < majority + 0.08
    assert table.column("accuracy_clean", "baseline").mean() > majority + 0.3


def test_equal_passes_means_half_the_steps_for_methods_of_two_passes(ctx: FakeContext):
    def passes(budget: str) -> dict[str, int]:
        run(ctx, methods=["mgpo", "sam"], budget=budget)
        return {row["condition"]: row["passes"] for row in ctx.artifacts["cost.json"]["rows"]}

    assert passes("epochs") == {"baseline": 10, "mgpo": 10, "sam": 20}
    assert passes("passes") == {"baseline": 10, "mgpo": 10, "sam": 10}


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT reads a deprecated name
def test_a_saved_adapter_loads_in_peft_with_the_same_logits(ctx: FakeContext, tmp_path):
    import json

    peft = pytest.importorskip("peft", reason="peft is the oracle here: pip install peft")
    from safetensors.torch import save_file

    from agentkit_weight.adapters import read_adapter
    from agentkit_weight.branches import PerturbContext
    from agentkit_weight.sites import find_sites

    run(ctx, methods=["mgpo"], epochs=4)
    config = ctx.artifacts["adapter_config-mgpo-u0.json"]
    tensors = ctx.artifacts["adapter-mgpo-u0.safetensors"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    ids = torch.tensor([[2, 6, 7, 8, 3]])
    model = ctx.targets["tiny:"].model
    sites = find_sites(model, ".*", 2)
    from tests.weight.kit import as_bytes

    adapter, head = read_adapter(as_bytes("a.safetensors", tensors))
    assert set(head) == {"weight", "bias"}
    with torch.no_grad(), PerturbContext(sites) as context:
        plain = model(input_ids=ids).last_hidden_state
        context.put("lora", adapter.branches())
        ours = model(input_ids=ids).last_hidden_state
    wrapped = peft.PeftModel.from_pretrained(tiny_encoder().model, str(tmp_path))
    with torch.no_grad():
        theirs = wrapped(input_ids=ids).last_hidden_state
    assert float((ours - plain).abs().max()) > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_curve_of_mgpo_shows_a_radius_of_up_to_cap_times_rho(ctx: FakeContext):
    run(ctx, methods=["mgpo"], mgpo={"rho": 0.05, "cap": 10})
    radii = [row["radius"] for row in ctx.artifacts["curve-mgpo-u0.csv"]]
    sites = len(ctx.artifacts["cost.json"]["sites"])
    assert radii[0] == 0  # no momentum yet
    assert all(0 < r <= 0.5 * math.sqrt(sites) + 1e-6 for r in radii[1:])


def test_a_range_that_is_left_is_an_error_that_names_it(ctx: FakeContext):
    with pytest.raises(ParamError, match=r"zo.eps.* 0\.125 \(got 0\.5\)"):
        finetune.parse(SMALL | {"zo": {"eps": 0.5}})
    with pytest.raises(ParamError, match=r"zo.eps.* 0\.00006103515625 \(got 0\)"):
        finetune.parse(SMALL | {"zo": {"eps": 0}})
    with pytest.raises(ParamError, match=r"zo.objective.*f1.*'bleu'"):
        finetune.parse(SMALL | {"zo": {"objective": "bleu"}})
    with pytest.raises(ParamError, match="use spsa"):
        finetune.parse(SMALL | {"zo": {"estimator": "jvp", "objective": "f1"}})
    with pytest.raises(ParamError, match="train_n 37"):
        run(ctx, train_n=37)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": (("only",) * 9,)}, "row 0"),
        ({"test": ()}, "0 test strings"),
        ({"tags": tuple(("x",) * len(row) for row in tiny_data().tokens)}, "1 class"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused_with_their_row(change: dict[str, Any], message: str):
    from dataclasses import replace

    from agentkit_weight.errors import DataError

    data = tiny_data()
    if len(change.get("tags", ())) == 1:
        change = {"tags": (*change["tags"], *data.tags[1:])}
    broken: TinyData = replace(data, **change)
    with pytest.raises(DataError, match=message):
        run(FakeContext({"tiny:": tiny_encoder(), "letters:": broken}))


def test_declared_metrics_hold_every_value(ctx: FakeContext):
    table = run(ctx, methods=ALL, zo=ZO)
    for name in table.metrics:
        metric: Metric = finetune.metric(name)
        values = table.array(name).ravel()
        assert all(metric.contains(v) for v in values[np.isfinite(values)])
    for condition in table.conditions:  # what only a byte log has
        assert np.isfinite(table.column("log_bytes", condition)[0]) == (condition in ("baseline", "zo"))


def test_the_shared_lower_layers_notice_that_the_model_was_written(ctx: FakeContext):
    before = run(ctx, methods=["lora"])
    weight = ctx.targets["tiny:"].model.embeddings.word_embeddings.weight
    with torch.no_grad():
        weight[6] += 1
    changed = run(ctx, methods=["lora"])
    with torch.no_grad():
        weight[6] -= 1
    assert changed != before
    ctx.targets["tiny:"] = tiny_encoder()
    assert run(ctx, methods=["lora"]) == before
