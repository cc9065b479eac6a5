"""Which claim gets the next batch, and when one is closed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentkit.agent.batches import OpenClaim, Step, is_futile, next_step


def claim(ref: str, **changes) -> OpenClaim:
    return OpenClaim(
        **{"ref": ref, "direction": "less", "null": 0.0, "sesoi": 0.1, "max_units": 200, **changes}
    )


def status(units: int, **changes) -> dict:
    base = {"units": units, "units_left": 200 - units, "state": "open", "log_e": 0.0, "level": 0.005}
    return {**base, "interval": [-0.5, 0.5], **changes}


def test_batches_go_round_robin_in_order_of_registration():
    claims = [claim("H1"), claim("H2"), claim("H3")]
    seen = []
    for _ in range(6):
        step = next_step(claims)
        seen.append(step.hypothesis)
        i = int(step.hypothesis[1]) - 1
        claims[i] = claims[i].after(status(20 * (claims[i].batches + 1)))
    assert seen == ["H1", "H2", "H3", "H1", "H2", "H3"]


def test_after_the_first_batches_the_most_promising_claim_goes_on():
    claims = [claim(ref).after(status(60, log_e=e)) for ref, e in (("H1", 2.0), ("H2", 3.0), ("H3", 3.0))]
    claims = [replace(c, batches=3) for c in claims]
    assert next_step(claims) == Step("run_batch", "H2")
    assert next_step([*claims, claim("H4")]) == Step("run_batch", "H4")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (status(20, state="decided"), "decided"),
        (status(200, units_left=0), "max_units"),
        (status(80, log_e=-2.0), "futile"),
    ],
)
def test_a_finished_claim_is_stopped_with_its_reason_before_any_other_batch(last, reason):
    claims = [claim("H1"), claim("H2").after(last)]
    assert next_step(claims) == Step("stop", "H2", reason)


def test_nothing_is_left_when_every_claim_is_closed():
    closed = claim("H1").after(status(40, state="closed"), batch=False)
    assert next_step([closed]) == Step("done")
    assert next_step([]) == Step("done")


def test_no_claim_is_given_up_before_sixty_units_nor_while_its_evidence_can_still_get_there():
    assert not is_futile(claim("H1").after(status(40, log_e=-5.0)))
    assert not is_futile(claim("H1").after(status(60, log_e=2.0)))
    assert not is_futile(claim("H1").after(status(60, log_e=0.1)))  # it has only just learnt how to bet
    assert is_futile(claim("H1").after(status(60, log_e=-1.5)))


@pytest.mark.parametrize(
    ("direction", "interval", "futile"),
    [
        ("less", [-0.05, 0.2], True),  # every mean of -0.1 or less is excluded
        ("less", [-0.2, 0.05], False),
        ("greater", [-0.2, 0.05], True),
        ("two_sided", [-0.05, 0.05], True),
        ("two_sided", [-0.05, 0.2], False),
        ("equivalent", [-0.05, 0.05], False),
    ],
)
def test_a_claim_whose_effect_of_interest_is_ruled_out_is_futile(direction, interval, futile):
    last = status(80, interval=interval, log_e=4.0)
    assert is_futile(claim("H1", direction=direction).after(last)) is futile
