"""Link prediction on perturbed graphs: what each kind keeps, nesting, scores by hand, refusals."""

import numpy as np
import pytest

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import edges, links
from agentkit_input_noise.graph import Graph, Propagation, blocks, from_file, normalised
from agentkit_input_noise.graph_target import graph as graph_loader
from agentkit_input_noise.graph_target import linker as linker_loader
from agentkit_input_noise.graph_tool import noise_graph

KEY = 0x1234_5678_9ABC
NONE = np.zeros((0, 2), dtype=np.int64)
EVERY = ["edge_drop", "edge_add", "feature_mask", "type_swap", "svd_rank"]


def pairs(found):
    return {tuple(e) for e in found.tolist()}


@pytest.fixture
def run(make_context, units):
    def call(of=None, conditions=None, data=None, target=None, **params):
        context = make_context(
            {
                "graph:blocks": blocks() if data is None else data,
                "linker:propagation": target or Propagation(),
            },
            conditions,
        )
        table = noise_graph(
            noise_graph.parse({"items": 60, **params}), units[:3] if of is None else of, context
        )
        table.artifacts = context.artifacts
        return table

    return call


@pytest.mark.parametrize("kind", edges.KINDS)
def test_strength_zero_gives_the_same_edges(kind):
    graph = blocks()
    found = edges.KINDS[kind](graph, graph.edges, NONE, 0.0, KEY)
    assert pairs(found.edges) == pairs(graph.edges)
    assert found.edited == 0


@pytest.mark.parametrize("kind", edges.KINDS)
def test_edits_are_nested_in_strength(kind):
    graph = blocks()
    clean = pairs(graph.edges)
    few, many = (pairs(edges.KINDS[kind](graph, graph.edges, NONE, p, KEY).edges) for p in (0.2, 0.6))
    assert clean - few <= clean - many
    assert few - clean <= many - clean


@pytest.mark.parametrize("kind", edges.KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_edited_edges_is_the_one_asked_for(kind, share):
    graph = blocks()
    found = edges.KINDS[kind](graph, graph.edges, NONE, share, KEY)
    n = found.editable if kind != "type_swap" else found.editable / 2
    band = 3.3 * np.sqrt(share * (1 - share) / n) if kind != "edge_add" else 0.5 / n
    assert found.edited / found.editable == pytest.approx(share, abs=band)


def test_added_edges_are_new_and_never_the_hidden_ones():
    graph = blocks()
    known, hidden = graph.edges[200:], graph.edges[:200]
    found = edges.add(graph, known, hidden, 1.0, KEY)
    added = pairs(found.edges) - pairs(known)
    assert len(added) == len(known)
    assert not added & pairs(hidden)


def test_swapped_edges_keep_degrees_types_and_their_number():
    graph = blocks()
    found = edges.swap(graph, graph.edges, NONE, 0.8, KEY).edges
    assert len(pairs(found)) == len(graph.edges)
    for side in (0, 1):
        assert (np.bincount(found[:, side]) == np.bincount(graph.edges[:, side])).all()

    def kinds(e):
        return sorted(
            zip(graph.left_types[e[:, 0]].tolist(), graph.right_types[e[:, 1]].tolist(), strict=True)
        )

    assert kinds(found) == kinds(graph.edges)
    assert len(pairs(found) - pairs(graph.edges)) > 0.5 * len(
        graph.edges
    )  # pairs whose new edges exist are left


def test_masked_features_are_zero_and_nested():
    features = blocks().left_features
    few, many = (edges.masked(features, p, KEY)[0] for p in (0.2, 0.6))
    assert ((many == 0) >= (few == 0)).all()
    assert (few[few != 0] == features[few != 0]).all()
    assert edges.masked(features, 0.6, KEY)[1] == (many == 0).sum()


def test_the_view_of_full_rank_is_the_graph_and_smaller_ranks_lose_what_the_singular_values_say():
    graph = blocks()
    clean = normalised(graph, graph.edges)
    parts = np.linalg.svd(clean, full_matrices=False)
    full = links.low_rank(parts, clean, min(graph.shape), None, None)
    assert np.abs(full[0] - clean).max() < 1e-12
    cut = links.low_rank(parts, clean, 7, None, None)
    assert np.linalg.matrix_rank(cut[0]) == 7
    assert cut[3] == pytest.approx(np.sqrt((parts[1][7:] ** 2).sum() / (parts[1] ** 2).sum()))


def test_hidden_edges_leave_every_node_another_one_and_are_not_known(units):
    graph = blocks()
    split = links.hide(graph, 300, units[0])
    assert not pairs(split.known) & pairs(split.hidden)
    assert pairs(split.known) | pairs(split.hidden) == pairs(graph.edges)
    assert not pairs(split.absent) & pairs(graph.edges)
    for side in (0, 1):
        assert (np.bincount(split.known[:, side]) > 0).all()


def test_scores_by_hand_count_ties_by_half():
    found = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.8, 0.3, 0.3]])
    split = links.Split(
        known=np.array([[0, 0], [1, 1]]), hidden=np.array([[0, 1], [1, 0]]), absent=np.array([[0, 2], [1, 3]])
    )
    recall, auc = links.scores(found, split, 1)
    assert recall == pytest.approx(
        0.25
    )  # the first ties with one other for one place; the second comes third
    assert auc == pytest.approx((0.5 + 1 + 0 + 0) / 4)


def test_a_damaged_graph_predicts_fewer_links_and_chance_none(run):
    table = run(kinds=EVERY, strengths=[0.2, 0.9], ranks=[1, 20])
    clean = table.column("recall_at_k", "baseline").mean()
    for name in ("edge_drop=0.9", "type_swap=0.9", "svd_rank=1"):
        assert table.column("recall_at_k", name).mean() < clean - 0.1
    assert table.column("link_auc", "chance").mean() == pytest.approx(0.5, abs=0.08)
    assert table.column("recall_at_k", "chance").mean() < 0.25
    assert (table.column("edit_rate", "baseline") == 0).all()


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run(of=units[:3], kinds=EVERY, strengths=[0.4], ranks=[5])
    singles = [run(of=[u], kinds=EVERY, strengths=[0.4], ranks=[5]) for u in reversed(units[:3])]
    assert type(whole).concat(singles) == whole
    some = {"type_swap=0.4", "svd_rank=5", "chance"}
    assert run(of=units[:3], conditions=some, kinds=EVERY, strengths=[0.4], ranks=[5]) == whole.select(
        conditions=some
    )


def test_an_exploration_leaves_curves_and_claims(run):
    found = run(kinds=["edge_drop", "edge_add", "type_swap"]).artifacts
    assert set(found["curve.json"]["recall_at_k"]) == {"edge_drop", "edge_add", "type_swap"}
    assert any(row["claim"] == "trend of edge_drop" for row in found["contrasts.json"])
    assert {"curve.svg", "heat.svg", "strength.json"} <= set(found)


def test_a_graph_without_edges_is_refused(run, tmp_path):
    types = np.zeros(30, dtype=np.int64)
    with pytest.raises(ParamError, match="the graph has no edges"):
        run(data=Graph(NONE, types, types))
    (tmp_path / "empty.csv").write_text("\n\n")
    with pytest.raises(TargetError, match="has no edge"):
        graph_loader.load(str(tmp_path / "empty.csv"), "cpu")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 200}, "k 200 suggestions among 200 nodes"),
        ({"kinds": ["svd_rank"], "ranks": [201]}, "rank is at most 200"),
        ({"items": 5000}, "only .* are no node's last one"),
        ({"kinds": ["edge_drop"], "strengths": [1.0]}, "edge_drop=1 leaves no edge"),
    ],
)
def test_what_this_graph_cannot_answer_is_refused(run, params, message):
    with pytest.raises(ParamError, match=message):
        run(**params)


def test_features_that_are_not_there_cannot_be_masked(run):
    graph = blocks()
    with pytest.raises(ParamError, match="nodes have no features"):
        run(data=Graph(graph.edges, graph.left_types, graph.right_types), kinds=["feature_mask"])


@pytest.mark.parametrize(
    ("answer", "message"), [(np.zeros((2, 2)), "shape"), (np.full((300, 200), np.nan), "NaN")]
)
def test_a_predictor_that_answers_otherwise_is_refused(run, answer, message):
    class Broken:
        def score(self, graph, left, right):
            return answer

    with pytest.raises(TargetError, match=message):
        run(target=Broken())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": ["typos"]}, "typos"),
        ({"strengths": [0]}, "baseline is strength zero"),
        ({"ranks": [0]}, "ranks"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message) as error:
        noise_graph.parse(params)
    assert "\n" not in str(error.value)


def test_an_edge_list_is_read_with_its_types(tmp_path, run):
    path = tmp_path / "likes.csv"
    path.write_text(
        "ann,tea,person,drink\nann,bread,person,food\n\nbob,tea,person,drink\nbob,tea,person,drink\n"
    )
    graph = from_file(path)
    assert graph.shape == (2, 2)
    assert graph.edges.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert graph.right_types[0] != graph.right_types[1]
    path.write_text("ann\n")
    with pytest.raises(TargetError, match="line 1 has no source and target"):
        from_file(path)


def test_unknown_graphs_and_predictors_are_refused_with_near_names():
    with pytest.raises(TargetError, match="graph:blocks"):
        graph_loader.fingerprint("block")
    with pytest.raises(TargetError, match="linker:propagation"):
        linker_loader.fingerprint("propagate")
    assert graph_loader.fingerprint("blocks") == graph_loader.fingerprint("blocks")
