"""Branches equal the dense matrices they stand for, and leave the user's model alone."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from agentkit_weight.branches import Dense, LowRank, PerturbContext
from agentkit_weight.errors import SiteNotHitError, UnsupportedSiteError
from agentkit_weight.sites import find_sites, weight_of
from agentkit_weight.tiny import tiny_net


def sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def random_branch(m: int, n: int, k: int, dtype: torch.dtype, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(m, k, generator=generator, dtype=dtype)
    return LowRank(left, torch.randn(k, n, generator=generator, dtype=dtype), 0.3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("with_grad", [False, True], ids=["in place", "with a graph"])
def test_a_branch_equals_the_dense_matrix(dtype: torch.dtype, tolerance: float, with_grad: bool):
    layer = nn.Linear(24, 40).to(dtype)
    x = torch.randn(5, 7, 24, dtype=dtype)
    low, dense = random_branch(40, 24, 3, dtype), Dense(torch.randn(40, 24, dtype=dtype), 0.1)
    with torch.set_grad_enabled(with_grad), PerturbContext({"l": layer}) as context:
        for branches in ([low], [dense], [low, dense], [low, random_branch(40, 24, 2, dtype, 1)]):
            for i, branch in enumerate(branches):
                context.put(str(i), {"l": branch})
            expected = nn.functional.linear(x, layer.weight + sum(b.dense() for b in branches), layer.bias)
            got = layer(x)
            for i in range(len(branches)):
                context.drop(str(i))
            assert float((got - expected).detach().norm() / expected.detach().norm()) < tolerance


def test_gram_norms_equal_dense_norms():
    branch = random_branch(40, 24, 5, torch.float64)
    dense = branch.dense()
    assert float(branch.frobenius()) == pytest.approx(float(dense.norm()), rel=1e-6)
    torch.testing.assert_close(branch.row_norms(), dense.norm(dim=1), rtol=1e-6, atol=0)


def test_a_context_without_branches_changes_no_bit():
    net, x = tiny_net(), torch.randn(9, 6)
    untouched = net(x)
    with PerturbContext(find_sites(net)) as context:
        assert torch.equal(net(x), untouched)
        context.put("a", {"0": random_branch(16, 6, 1, torch.float32)})
        assert not torch.equal(net(x), untouched)
        context.drop("a")
        assert torch.equal(net(x), untouched)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_an_exception_leaves_no_hook_and_no_changed_weight(dtype: torch.dtype):
    net = tiny_net().to(dtype)
    before = sha256(net)
    sites = find_sites(net)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), PerturbContext(sites) as context:
        context.put("noise", {"0": random_branch(16, 6, 1, torch.float32)})
        assert net(torch.randn(3, 6, dtype=dtype)).dtype == dtype
        raise ZeroDivisionError
    assert sha256(net) == before
    assert not any(m._forward_hooks for m in net.modules())


def test_gradients_reach_the_factors_of_a_branch():
    net, x = tiny_net(), torch.randn(9, 6)
    left, right = torch.zeros(16, 2, requires_grad=True), torch.randn(2, 6, requires_grad=True)
    with PerturbContext(find_sites(net)) as context:
        context.put("lora", {"0": LowRank(left, right, 2.0)})
        net(x).square().sum().backward()
    assert left.grad is not None
    assert float(left.grad.abs().sum()) > 0
    assert right.grad is not None


def test_a_layer_that_peft_wrapped_is_one_site_and_keeps_its_adapter():
    peft = pytest.importorskip("peft", reason="peft is the oracle here: pip install peft")
    net = tiny_net()
    model = peft.get_peft_model(net, peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    sites = {n: s for n, s in find_sites(model).items() if n.endswith(".0")}
    (name,) = sites
    x = torch.randn(4, 6)
    branch = random_branch(16, 6, 1, torch.float32)
    with torch.no_grad(), PerturbContext(sites) as context:
        plain = sites[name](x).clone()
        context.put("noise", {name: branch})
        torch.testing.assert_close(sites[name](x), plain + x @ branch.dense().T)
    assert weight_of(sites[name]) is sites[name].base_layer.weight


def test_a_site_that_never_runs_is_named():
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    net = Lazy()
    with PerturbContext(find_sites(net)) as context:
        net(torch.randn(2, 3))
        with pytest.raises(SiteNotHitError, match="idle"):
            context.require_hits()


def test_unknown_and_unsupported_sites_are_refused_with_names():
    net = nn.ModuleDict({"words": nn.Embedding(4, 3), "attention": nn.Linear(3, 2)})
    with pytest.raises(UnsupportedSiteError, match="Embedding"):
        find_sites(net, "words")
    with pytest.raises(SiteNotHitError, match="'attention'"):
        find_sites(net, "atention")
