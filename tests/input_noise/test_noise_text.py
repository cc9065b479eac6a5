import numpy as np
import pytest

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise.embeddings import embed
from agentkit_input_noise.errors import NothingPerturbedError, TargetNotDeterministicError
from agentkit_input_noise.letters import LetterNoise
from agentkit_input_noise.text_tool import noise_text

PARAMS = {"kinds": ["typos", "delete"], "strengths": [0.1, 0.4], "items": 12, "candidates": 40}


@pytest.fixture
def run(make_context, encoder, addresses, units):
    def run(params=PARAMS, conditions=None, on=units, data=addresses, model=encoder):
        context = make_context({"minilm:": model, "addresses:": data}, conditions)
        return noise_text(noise_text.parse(params), on, context)

    return run


class Digits:
    """A data set without a single letter."""

    texts = ("12 345", "678", "90 12")

    def draw(self, rng, n):
        return tuple(range(n))

    def candidates(self, rng, items, count):
        return (0, 1, 2)


def test_conditions_are_baseline_chance_and_the_sweep(run):
    table = run()
    assert table.conditions == ("baseline", "chance", "typos=0.1", "typos=0.4", "delete=0.1", "delete=0.4")
    assert table.metrics == ("recall_at_1", "margin", "cosine", "neighbours_kept", "edit_rate")


def test_clean_queries_are_found_with_cosine_one_and_no_edit(run):
    table = run()
    assert (table.column("recall_at_1", "baseline") == 1).all()
    assert (table.column("cosine", "baseline") == 1).all()
    assert (table.column("edit_rate", "baseline") == 0).all()
    assert (table.column("margin", "baseline") > 0).all()


def test_more_noise_finds_fewer_addresses(run, units):
    table = run({**PARAMS, "items": 100, "candidates": 298})
    for kind in ("typos", "delete"):
        levels = [table.column(m, c).mean() for m in ("recall_at_1", "margin") for c in
                  ("baseline", f"{kind}=0.1", f"{kind}=0.4")]  # fmt: skip
        assert levels[0] > levels[1] > levels[2]
        assert levels[3] > levels[4] > levels[5]


def test_answers_drawn_by_lot_are_right_one_time_in_candidates(run):
    table = run({**PARAMS, "items": 200, "candidates": 200, "kinds": ["typos"], "strengths": [0.1]})
    assert table.column("recall_at_1", "chance").mean() < 0.03


def test_the_measured_edit_rate_stands_beside_the_requested_one(run):
    table = run({**PARAMS, "items": 200, "candidates": 298})
    for condition, rate in {"typos=0.1": 0.1, "typos=0.4": 0.4, "delete=0.1": 0.1}.items():
        assert abs(table.column("edit_rate", condition).mean() - rate) < 0.02


def test_margin_is_half_the_lead_over_the_nearest_wrong_text(run, addresses, encoder, units):
    table = run({**PARAMS, "items": 3, "candidates": 10, "neighbours": 2})
    unit = units[2]
    rng = unit.rng("items")
    items = addresses.draw(rng, 3)
    pool = addresses.candidates(rng, items, 10)
    key = int(unit.rng("noise.text.typos").integers(0, 1 << 64, dtype=np.uint64))
    queries = LetterNoise([addresses.texts[i] for i in items], items, "typos", key).at(0.4).texts
    margins = []
    for item, query in zip(items, queries, strict=True):
        q = encoder.encode([query])[0].astype(float)
        cosines = {i: float(q @ encoder.encode([addresses.texts[i]])[0]) for i in pool}
        right = cosines.pop(item)
        margins.append((right - max(cosines.values())) / 2)
    assert table.column("margin", "typos=0.4")[2] == pytest.approx(np.mean(margins), abs=1e-6)


def test_linkage_items_of_the_data_set_are_the_questions_of_the_tool(
    run, addresses, encoder, units, make_context
):
    from agentkit_input_noise.linkage import ask, cells_of

    params, unit = noise_text.parse(PARAMS), units[0]
    question = ask(params, unit, addresses, cells_of(params))
    key = int(unit.rng("noise.text.typos").integers(0, 1 << 64, dtype=np.uint64))
    items = addresses.linkage_items(unit.rng("items"), 12, 0.4, "typos", key, 40)
    assert list(items.queries) == question.queries["typos=0.4"]
    assert list(items.candidates) == question.candidates
    assert list(items.answers) == question.answers.tolist()


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run()
    assert run(on=units[::-1]) == whole
    singles = [run(on=[unit]) for unit in units]
    assert type(whole).concat(singles) == whole
    parts = [run(conditions={"typos=0.4"}), run(conditions={"delete=0.1", "delete=0.4"})]
    for part in parts:
        assert part == whole.select(conditions=part.conditions)


def test_only_the_conditions_asked_for_are_measured(run):
    assert run(conditions={"typos=0.4"}).conditions == ("baseline", "typos=0.4")


def test_an_encoder_embeds_each_clean_text_once(run, encoder):
    run()
    first = len(encoder.seen)
    assert (
        len(set(encoder.seen)) == first - 2
    )  # one text is embedded twice more, to see that it comes out the same
    run(conditions={"baseline"})
    assert len(encoder.seen) == first


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"strengths": [0.0, 0.1]}, "baseline is strength zero"),
        ({"strengths": [0.1, 0.1]}, "0.1 is given twice"),
        ({"strengths": [1.5]}, "less than or equal to 1"),
        ({"strengths": [-0.1]}, "greater than or equal to 0"),
        ({"strengths": [0.01 * i for i in range(1, 18)]}, "at most 16"),
        ({"kinds": ["snr"]}, "'typos', 'delete', 'insert', 'swap', 'ocr'"),
        ({"candidates": 5}, "neighbours 10 of 5 candidates"),
        ({"kinds": ["typos", "typos"]}, "'typos' is given twice"),
        ({"kindz": ["typos"]}, "Did you mean 'kinds'"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message):
        noise_text.parse(params)


def test_more_items_than_the_data_holds_are_refused(run):
    with pytest.raises(ParamError, match="299 items were asked for"):
        run({**PARAMS, "items": 299})


def test_noise_that_finds_no_letter_is_refused(run):
    with pytest.raises(NothingPerturbedError, match="typos finds nothing to edit in any of 2 items"):
        run({**PARAMS, "items": 2, "candidates": 3, "neighbours": 1}, data=Digits())


def test_a_text_read_in_another_encoding_is_refused(encoder):
    with pytest.raises(ParamError, match="half a surrogate pair.*read it as UTF-8"):
        embed(encoder, ["Main Street", b"caf\xe9".decode("utf-8", "surrogateescape")])


def test_an_encoder_that_returns_nan_is_refused_with_the_text(run):
    class Broken:
        def encode(self, texts):
            return np.full((len(texts), 3), np.nan)

    with pytest.raises(TargetError, match="encode gave NaN"):
        run(model=Broken())


def test_an_encoder_that_returns_too_few_rows_is_refused(run):
    class Short:
        def encode(self, texts):
            return np.ones((1, 3))

    with pytest.raises(TargetError, match=r"shape \(1, 3\)"):
        run(model=Short())


def test_an_exploration_leaves_curves_claims_strengths_and_examples(make_context, encoder, addresses, units):
    context = make_context({"minilm:": encoder, "addresses:": addresses})
    table = noise_text(noise_text.parse(PARAMS), units, context)
    files = context.artifacts
    assert sorted(files) == ["contrasts.json", "curve.json", "curve.svg", "examples.json", "strength.json"]
    curve = files["curve.json"]["recall_at_1"]["typos"]
    assert curve["strengths"] == [0, 0.1, 0.4]
    assert curve["mean"][1] == pytest.approx(table.column("recall_at_1", "typos=0.1").mean())
    assert curve["logistic"] is None  # three strengths are too few for four parameters
    assert files["strength.json"][0]["requested"] == 0.1
    assert {"ED50 of typos < 0.1", "trend of delete", "area of typos minus delete"} <= {
        row["claim"] for row in files["contrasts.json"]
    }
    assert files["examples.json"]["baseline"][0]["right"]
    assert len(files["examples.json"]["typos=0.4"]) == 5
    assert "<svg" in files["curve.svg"]


def test_equal_explorations_leave_equal_files(make_context, encoder, addresses, units):
    both = []
    for _ in range(2):
        context = make_context({"minilm:": encoder, "addresses:": addresses})
        noise_text(noise_text.parse(PARAMS), units, context)
        both.append(context.artifacts)
    assert both[0] == both[1]


def test_a_confirmation_leaves_no_curve(make_context, encoder, addresses, units):
    context = make_context({"minilm:": encoder, "addresses:": addresses}, {"baseline", "typos=0.4"})
    noise_text(noise_text.parse(PARAMS), units, context)
    assert context.artifacts == {}


def test_words_can_be_moved_dropped_and_added_too(run):
    kinds = ["word_shuffle", "word_drop", "speech", "paraphrase", "verbose"]
    table = run({**PARAMS, "kinds": kinds, "strengths": [0.5], "items": 60, "candidates": 298, "level": 2})
    assert {"word_drop=0.5", "speech=0.5", "paraphrase=2", "verbose=2"} <= set(table.conditions)
    for condition in ("word_drop=0.5", "speech=0.5", "verbose=2"):
        assert (table.column("cosine", condition) < 1).all()
        assert (table.column("edit_rate", condition) > 0).all()


def test_neighbours_are_all_kept_by_clean_texts_and_fewer_by_noisier_ones(run):
    table = run({**PARAMS, "items": 60, "candidates": 298, "neighbours": 10})
    kept = [
        table.column("neighbours_kept", c).mean() for c in ("baseline", "typos=0.1", "typos=0.4", "chance")
    ]
    assert kept[0] == 1
    assert kept == sorted(kept, reverse=True)


def test_neighbours_kept_is_the_overlap_of_the_nearest():
    from agentkit_input_noise.linkage import overlap

    a, b = np.array([[0.9, 0.8, 0.1, 0.2]]), np.array([[0.9, 0.1, 0.8, 0.2]])
    assert overlap(a, b, 1).tolist() == [1]
    assert overlap(a, b, 2).tolist() == [0.5]


def test_an_encoder_with_dropout_on_is_refused(run):
    class Moody:
        def __init__(self):
            self.calls = 0

        def encode(self, texts):
            self.calls += 1
            return np.full((len(texts), 3), [1.0, 2.0, self.calls])

    with pytest.raises(TargetNotDeterministicError, match="evaluation mode"):
        run(model=Moody())
