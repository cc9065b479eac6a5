import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise.addresses import FILE
from agentkit_input_noise.addresses import addresses as loader


def test_the_pool_is_the_distinct_labelled_addresses_of_usaddress(addresses):
    assert len(addresses.texts) == 1487
    assert len({tag for tags in addresses.tags for tag in tags}) == 29
    assert addresses.texts[0] == "8128 S. DR MARTIN LUTHER KING JR Drive"
    assert addresses.tags[0] == (
        "AddressNumber", "StreetNamePreDirectional", *["StreetName"] * 5, "StreetNamePostType",
    )  # fmt: skip


def test_every_word_has_one_tag_and_joins_back_into_the_text(addresses):
    for text, tokens, tags in zip(addresses.texts, addresses.tokens, addresses.tags, strict=True):
        assert len(tokens) == len(tags)
        assert " ".join(tokens) == text
        assert all(tokens)


def test_no_two_addresses_are_equal_but_for_case(addresses):
    assert len({t.lower() for t in addresses.texts}) == len(addresses.texts)


def test_the_split_covers_the_pool_once(addresses):
    assert (len(addresses.train), len(addresses.test)) == (1189, 298)
    assert sorted(addresses.train + addresses.test) == list(range(1487))


def test_the_fingerprint_is_the_hash_of_the_file():
    assert loader.fingerprint("") == hashlib.sha256(FILE.read_bytes()).hexdigest()


def test_nothing_may_follow_the_colon():
    with pytest.raises(TargetError, match="write addresses:"):
        loader.load("linkage", "cpu")


def test_the_notice_carries_the_licence_of_the_data():
    notice = FILE.with_name("NOTICE.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2014 The Atlanta Journal Constitution" in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_the_build_script_writes_one_letter_a_word_and_drops_repeats(tmp_path):
    path = FILE.with_name("build_addresses.py")
    spec = importlib.util.spec_from_file_location("build_addresses", path)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    xml = b"<C><S><N>1</N> <M>Elm </M></S>\n<S><N>1</N> <M>ELM</M></S><S><M>Oak</M></S></C>"
    assert build.render(build.distinct(build.labelled(xml))) == "a M\nb N\n\n1 Elm\tba\nOak\ta\n"
    assert Path(build.OUTPUT) == FILE


def rng():
    return np.random.default_rng(3)


def test_every_question_has_its_right_answer_among_distinct_candidates(addresses):
    for count in (20, 100, 298, 500, None):
        items = addresses.linkage_items(rng(), 20, 0.0, candidates=count)
        assert [items.candidates[k] for k in items.answers] == list(items.queries)
        assert len({c.lower() for c in items.candidates}) == len(items.candidates) == (count or 1487)
        assert set(items.queries) <= {addresses.texts[i] for i in addresses.test}


def test_rate_kind_and_key_do_not_move_the_draw(addresses):
    first = addresses.linkage_items(rng(), 30, 0.1, key=5, candidates=50)
    other = addresses.linkage_items(rng(), 30, 0.4, kind="ocr", key=6, candidates=50)
    assert (first.candidates, first.answers) == (other.candidates, other.answers)
    assert first.queries != other.queries


def test_more_items_than_test_addresses_are_refused(addresses):
    with pytest.raises(ParamError, match="299 items were asked for; there are 298"):
        addresses.linkage_items(rng(), 299, 0.1)


def test_fewer_candidates_than_items_are_refused(addresses):
    with pytest.raises(ParamError, match="5 candidates for 9 items"):
        addresses.linkage_items(rng(), 9, 0.1, candidates=5)


def test_an_unknown_kind_is_refused_with_near_names(addresses):
    with pytest.raises(ParamError, match="Did you mean 'typos'"):
        addresses.linkage_items(rng(), 9, 0.1, kind="typo")
