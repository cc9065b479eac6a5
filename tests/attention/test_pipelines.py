"""Whole diffusers pipelines as targets: tiny random ones of the real classes, saved to disk and loaded by URI."""

import warnings

import pytest
import torch

from agentkit.errors import ParamError, TargetError, TargetUnavailableError
from agentkit_attention import targets
from agentkit_attention.guide import Guide, guide
from agentkit_attention.list_sites import table_of
from agentkit_attention.models import describe
from agentkit_attention.skip_layer import SKIP
from tests.attention import pipes
from tests.attention.conftest import BenchContext
from tests.attention.naive import hook_count, weights_sha256

TOLD = {
    "dit": {"labels": (1, 2)}, "pixart": {"prompts": ("a b", "c")}, "sd3": {"prompts": ("a b",)},
    "flux": {"prompts": ("c d",)},
}  # fmt: skip


class Brightness:
    low, high = 0.0, 1.0

    def score(self, images, labels):
        return images.flatten(1).mean(1)


class Contrast(Brightness):
    def score(self, images, labels):
        return images.flatten(1).std(1).clamp(0, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    saved = {}

    def get(name):
        if name not in saved:
            saved[name] = pipes.save(name, tmp_path_factory.mktemp(name))
        return saved[name]

    return get


@pytest.fixture(scope="module")
def load(folder):
    loaded = {}

    def get(name):
        if name not in loaded:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # diffusers and transformers, about themselves
                uri = f"{folder(name)}" + ("" if name == "dit" else "@8")
                loaded[name] = targets.diffusers.load(uri, "cpu")
        return loaded[name]

    return get


@pytest.fixture(autouse=True)
def _quiet_upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def settings(name, **more):
    scorers = {"objective": "py:bright", "judge": "py:contrast", "features": None}
    return Guide(**{"target": "it:", "n": 2, "steps": 2, "w": 1.0} | scorers | TOLD[name] | more)


def context(target):
    return BenchContext({"it:": target, "py:bright": Brightness(), "py:contrast": Contrast()})


@pytest.mark.parametrize(
    ("name", "heads", "rows"),
    [("dit", 8, "0-4"), ("pixart", 16, "0-4"), ("sd3", 8, "0-4"), ("flux", 8, "512-516")],
)
def test_heads_and_image_rows_of_a_saved_pipeline_are_listed(load, name, heads, rows):
    described = describe(load(name))
    assert len(described.table.heads) == heads
    assert rows in {r["image_rows"] for r in table_of(described)}


@pytest.mark.parametrize("name", ["dit", "pixart", "sd3", "flux"])
def test_guidance_changes_what_a_pipeline_draws_and_leaves_its_model_alone(load, units, name):
    target = load(name)
    head = next(h.name for h in describe(target).table.heads if h.site.queries == h.site.keys)
    before = weights_sha256(target.model), hook_count(target.model)
    ctx = context(target)
    table = guide(settings(name, sets={"a": (head,)}, u=(0.0, 1.0)), units[:1], ctx)
    assert table.column("objective", "a=0") == table.column("objective", "baseline")
    assert table.column("objective", "a=1") != table.column("objective", "baseline")
    assert (weights_sha256(target.model), hook_count(target.model)) == before
    again = guide(settings(name, sets={"a": (head,)}, u=1.0), units[:1], ctx)
    assert again.column("objective", "a") == table.column("objective", "a=1")


def test_the_baseline_is_what_the_pipeline_itself_draws(load, units):
    target = load("sd3")
    table = guide(settings("sd3", sets={"a": ("L0.H0",)}), units[:1], context(target))
    drawn = target.pipe(
        prompt=["a b", "a b"], num_inference_steps=2, guidance_scale=1.0, height=8, width=8, output_type="np",
        generator=units[0].torch_generator("latents"),
    ).images  # fmt: skip
    assert table.column("objective", "baseline")[0] == pytest.approx(float(drawn.mean()), abs=1e-6)


@pytest.mark.parametrize("name", ["dit", "sd3"])
def test_the_weight_means_the_same_with_classifier_free_guidance(load, units, name):
    """One step by hand: e + w (e - p) + cfg (e - e without the prompt), wherever the pipeline puts its rows."""
    target, cfg, w = load(name), 2.0, 0.7
    seen = []
    handle = target.model.register_forward_hook(lambda m, a, k, o: seen.append((k, o[0])), with_kwargs=True)
    common = {"steps": 1, "cfg": cfg, "w": w, "sets": {"a": ("L0.*", "L1.*")}, "technique": SKIP, "u": 1.0}
    try:
        guide(settings(name, **common), units[:1], context(target))
    finally:
        handle.remove()
    outputs = [o for _, o in seen]  # baseline; plain call; the same call with the layers skipped; then guided
    assert len(outputs) == 3
    plain, perturbed, n = outputs[1], outputs[2], 2
    with_prompt = slice(0, n) if name == "dit" else slice(n, 2 * n)
    rest = slice(n, 2 * n) if name == "dit" else slice(0, n)
    assert torch.equal(plain[rest], perturbed[rest])
    assert (plain[with_prompt] - perturbed[with_prompt]).abs().max() > 1e-6


def test_a_pipeline_without_a_transformer_is_refused_before_it_is_loaded(folder, tmp_path):
    with pytest.raises(TargetError, match=r"DDPMPipeline has no transformer \(its network is unet\)"):
        targets.diffusers.fingerprint(str(folder("unet")))
    with pytest.raises(TargetError, match=r"holds no model_index\.json"):
        targets.diffusers.fingerprint(str(tmp_path))
    with pytest.raises(TargetUnavailableError, match="hf download nobody/nothing"):
        targets.diffusers.fingerprint("nobody/nothing")
    with pytest.raises(TargetError, match="names no pipeline"):
        targets.diffusers.fingerprint("")


def test_a_damaged_pipeline_says_so_in_one_line(folder, tmp_path):
    (tmp_path / "model_index.json").write_text((folder("dit") / "model_index.json").read_text())
    with pytest.raises(TargetUnavailableError) as error:
        targets.diffusers.load(str(tmp_path), "cpu")
    assert "\n" not in str(error.value)


def test_the_fingerprint_follows_weights_and_size(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder("dit"), copy)
    first = targets.diffusers.fingerprint(str(copy))
    assert first == targets.diffusers.fingerprint(str(folder("dit")))
    assert targets.diffusers.fingerprint(f"{copy}@16") != first
    weights = next(copy.glob("transformer/*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert targets.diffusers.fingerprint(str(copy)) != first


def test_labels_and_prompts_are_not_mixed_up(load, units, folder):
    with pytest.raises(ParamError, match="give labels"):
        guide(settings("dit", labels=None, sets={"a": ("L0.H0",)}), units[:1], context(load("dit")))
    with pytest.raises(ParamError, match="give prompts"):
        guide(
            settings("sd3", prompts=None, labels=(1,), sets={"a": ("L0.H0",)}),
            units[:1],
            context(load("sd3")),
        )
    with pytest.raises(ParamError, match="classes 0 to 999"):
        guide(settings("dit", labels=(1000,), sets={"a": ("L0.H0",)}), units[:1], context(load("dit")))
    with pytest.raises(TargetError, match="one size only"):
        targets.diffusers.load(f"{folder('dit')}@8", "cpu")


def test_digits_scorers_refuse_photographs(load, units):
    ctx = context(load("sd3"))
    ctx.targets["digits-judge:"] = targets.digits_judge.load("", "cpu")
    with pytest.raises(TargetError, match="scores digits of 1 x 8 x 8, not 3 x 8 x 8"):
        guide(settings("sd3", judge="digits-judge:", sets={"a": ("L0.H0",)}), units[:1], ctx)
