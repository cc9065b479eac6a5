import numpy as np
import pytest
import torch
from torch import nn

from agentkit.errors import ParamError, TargetError
from agentkit_attention import regions as r
from agentkit_attention.explain import Explain, MaskRegions, explain, mask_regions
from tests.attention.conftest import BenchContext

CELL = 6  # row 1, column 2 of a 4 x 4 grid over 8 x 8 pixels


class ReadsOneRegion(nn.Module):
    """Class 1 is likelier the brighter one region is; nothing else matters."""

    def forward(self, images):
        seen = images[:, 0, 2:4, 4:6].mean((1, 2))
        return torch.stack([torch.zeros_like(seen), 8 * seen - 2], 1)


class Constant(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :1] * 0 + torch.log(torch.tensor([[0.7, 0.3]]))


class Pictures:
    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.images = torch.rand(12, 1, 8, 8, generator=g) * 0.3
        self.images[:, :, 2:4, 4:6] = 1.0
        self.test = tuple(range(12))


@pytest.fixture
def ictx():
    return BenchContext({"digits:cnn": ReadsOneRegion(), "digits:": Pictures()})


def score(images):
    return ReadsOneRegion()(images).double().softmax(1)[:, 1]


@pytest.fixture
def scene():
    image = Pictures().images[0]
    return image, r.filled(image, "zero"), r.grid_regions(8, 8, 4)


def test_every_method_finds_the_one_region_that_is_read(scene):
    image, fill, grid = scene
    rng = np.random.default_rng(0)
    maps = {
        "rise": r.by_rise(score, image, fill, grid, rng, 2000, 0.5),
        "occlusion": r.by_occlusion(score, image, fill, grid),
        "gradient": r.by_gradient(score, image, fill, grid),
        "regions": r.by_search(score, image, fill, grid),
    }
    assert {name: int(m.argmax()) for name, m in maps.items()} == dict.fromkeys(maps, CELL)


def test_the_first_region_inserted_carries_the_whole_area(scene):
    image, fill, grid = scene
    first = torch.tensor([CELL, *(i for i in range(16) if i != CELL)])
    inserted, deleted = r.curve_areas(score, image, fill, grid, first)
    on, off = float(score(image[None])), float(score(fill[None]))
    assert inserted == pytest.approx((off + on) / 2 / 16 + on * 15 / 16, abs=1e-6)
    assert deleted == pytest.approx((off + on) / 2 / 16 + off * 15 / 16, abs=1e-6)


def test_a_constant_score_has_its_own_value_as_area(scene):
    image, fill, grid = scene

    def constant(images):
        return Constant()(images).double().softmax(1)[:, 0]

    inserted, deleted = r.curve_areas(constant, image, fill, grid, torch.arange(16))
    assert inserted == pytest.approx(0.7, abs=1e-6)
    assert deleted == pytest.approx(0.7, abs=1e-6)


def test_explain_beats_random_order_where_one_region_decides(units, ictx):
    table = explain(Explain(label=1, fill="zero", n=3, masks=400), units, ictx)
    assert table.conditions == ("baseline", "rise", "regions", "occlusion", "gradient")
    for method in table.conditions[1:]:
        assert (table.column("insertion_auc", method) > table.column("insertion_auc", "baseline")).all()
        assert (table.column("deletion_auc", method) < table.column("deletion_auc", "baseline")).all()
    assert "maps.png" in ictx.artifacts


def test_a_method_gives_the_same_values_alone_and_in_company(units, ictx):
    together = explain(Explain(n=2, masks=200), units[:1], ictx)
    alone = explain(Explain(n=2, masks=200, methods=("rise",)), units[:1], ictx)
    assert together.column("insertion_auc", "rise") == alone.column("insertion_auc", "rise")
    assert together.column("insertion_auc", "baseline") == alone.column("insertion_auc", "baseline")


def test_hiding_the_one_region_that_is_read_drops_the_class(units, ictx):
    table = mask_regions(MaskRegions(fill="zero", n=3), units, ictx)
    assert len(table.conditions) == 17
    assert (table.column("average_drop", "R1C2") > 0.5).all()
    assert (table.column("kept_label", "R1C2") == 0).all()
    assert (table.column("average_drop", "R0C0") == 0).all()
    assert (table.column("kept_label", "baseline") == 1).all()


def test_shares_are_nested_and_share_zero_is_the_whole_image_bit_for_bit(units, ictx):
    table = mask_regions(MaskRegions(share=(0, 0.5, 1), fill="zero"), units, ictx)
    for metric in table.metrics:
        assert table.column(metric, "share=0").tolist() == table.column(metric, "baseline").tolist()
    p = table.array("p_class").mean(0)
    assert p[0] == p[1] >= p[2] >= p[3]


@pytest.mark.parametrize("fill", ["zero", "mean", "blur", "grey"])
def test_every_fill_stays_in_the_range_of_the_image(fill):
    image = Pictures().images[0]
    out = r.filled(image, fill)
    assert out.shape == image.shape
    assert 0 <= out.min() <= out.max() <= 1


def test_regions_cover_every_pixel_also_when_they_do_not_divide_it():
    grid = r.grid_regions(8, 9, 3)
    assert sorted(grid.cell.unique().tolist()) == list(range(9))


def test_bad_images_labels_and_grids_are_named(units, ictx):
    with pytest.raises(ParamError, match="8 x 8"):
        explain(Explain(grid=9), units[:1], ictx)
    with pytest.raises(ParamError, match="classes 0 to 1"):
        explain(Explain(label=7), units[:1], ictx)
    with pytest.raises(ParamError, match="has 12 images"):
        explain(Explain(n=13), units[:1], ictx)
    ictx.targets["digits:"] = object()
    with pytest.raises(TargetError, match="no images"):
        explain(Explain(), units[:1], ictx)
    with pytest.raises(ParamError, match="share"):
        mask_regions.parse({"share": [1.5]})
