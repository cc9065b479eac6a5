"""The database itself refuses what no honest study does: every rule, every forbidden statement, any connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from agentkit.errors import RuleViolation
from agentkit.ledger import Ledger, Spec, models, rules
from agentkit.ledger.dberrors import translated
from tests.ledger.conftest import DIALECTS, build, confirm, toy_plugins, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.ledger import Campaign
    from agentkit.plugins import Plugins

CLOSED, FROZEN, DRAFT = 1, 2, 3
MAY_CHANGE = {"state", "closed_at", "close_reason"}
TABLES = [models.table(m).name for m in models.ALL]


class Attacker:
    """Somebody with the file or the password and a plain connection: none of our pragmas, none of our code."""

    def __init__(self, ledger: Ledger) -> None:
        self.dialect = ledger.store.dialect
        if ledger.store.path is not None:
            self.engine = sa.create_engine(f"sqlite:///{ledger.store.path}", poolclass=sa.NullPool)
        else:
            self.engine = sa.create_engine(ledger.store.engine.url, poolclass=sa.NullPool)

    def run(self, sql: str, **values: Any) -> None:
        with translated("store"), self.engine.begin() as connection:
            connection.execute(sa.text(sql), values)

    def code(self, sql: str, **values: Any) -> str:
        """The rule that refuses a statement."""
        with pytest.raises(RuleViolation) as caught:
            self.run(sql, **values)
        return caught.value.code

    def row(self, table: str, where: str = "1 = 1") -> dict[str, Any]:
        with self.engine.connect() as connection:
            query = sa.text(f'SELECT * FROM "{table}" WHERE {where} LIMIT 1')
            return dict(connection.execute(query).mappings().one())

    def count(self, table: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(sa.text(f'SELECT count(*) FROM "{table}"')).scalar_one())

    def insert(self, table: str, row: dict[str, Any], verb: str = "INSERT INTO", suffix: str = "") -> None:
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(f":{name}" for name in row)
        self.run(f'{verb} "{table}" ({names}) VALUES ({places}) {suffix}', **row)

    def insert_code(
        self, table: str, row: dict[str, Any], verb: str = "INSERT INTO", suffix: str = ""
    ) -> str:
        with pytest.raises(RuleViolation) as caught:
            self.insert(table, row, verb, suffix)
        return caught.value.code


@pytest.fixture(scope="module", params=DIALECTS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """A store with a row in every table: H1 closed with a verdict, H2 frozen with a run in flight, H3 a draft."""
    sqlite = request.param == "sqlite"
    url = (
        tmp_path_factory.mktemp("world") / "lab.db"
        if sqlite
        else request.getfixturevalue("new_postgres_url")()
    )
    with Ledger(url) as ledger:
        found = build_world(ledger, toy_plugins())
        yield found
        found.engine.dispose()
        assert ledger.verify().hypotheses == 3  # all those attacks left no trace


@pytest.fixture
def attacker(world: Attacker) -> Iterator[Attacker]:
    """Checks after each attack that no row came or went."""
    before = {table: world.count(table) for table in TABLES}
    yield world
    assert {table: world.count(table) for table in TABLES} == before


def build_world(ledger: Ledger, plugins: Plugins) -> Attacker:
    from agentkit.ledger import Artifact
    from agentkit.ledger.values import UnitOutcome

    campaign = ledger.campaign("tokens", root_seed=7, max_hypotheses=3)
    explored = campaign.start_explore(plugins, "toy.dose", {}, 3, targets={}, environment={"torch": "2"})
    fence = explored.begin_attempt("w")
    explored.record(
        fence, [UnitOutcome(2, "failed", None, "x", [Artifact("ab" * 32, 3, "text/csv", "t.csv")])]
    )
    work(explored)
    confirm(campaign, campaign.register(build(plugins)), 20)
    open_one = campaign.register(build(plugins, null=-0.01))
    campaign.start_confirm(open_one, 5)
    campaign.verdicts()
    campaign.decide("planner", "explore", {"why": "curious"})
    campaign.holdout("aa", budget=1).ask("bb", mean=0.4, guess=0.9)
    talk(campaign)
    found = Attacker(ledger)
    draft = found.row("hypothesis") | {"id": DRAFT, "ordinal": 3, "spec_sha256": "cc", "state": "draft"}
    found.insert("hypothesis", draft | {"frozen_at": None, "closed_at": None, "close_reason": None})
    return found


def talk(campaign: Campaign) -> None:
    """A conversation of one turn with one call, so that its tables have rows."""
    from agentkit.ledger.session_values import Message, TurnEnd
    from agentkit.ledger.sessions import open_session

    session = open_session(
        campaign, "s1", planner="offline", prompt="plan@v1", prompt_sha256="ab", tools=[], environment={}
    )
    asked = Message("human", {"content": "go"}, {})
    first = asked.hash_after(None)
    turn = session.begin_turn([(first, asked)], "offline")
    answer = Message("ai", {"content": "", "tool_calls": [{"name": "status", "args": {}, "id": "c1"}]}, {})
    session.end_turn(turn, first, TurnEnd(answer), [("tokens", 3, "offline")])
    session.end_call(session.begin_call("c1", "status", {}, "ab", turn=turn), "ok", "cd")


def test_every_table_of_the_world_has_a_row(attacker: Attacker) -> None:
    assert all(attacker.count(table) > 0 for table in TABLES)


def changed(value: Any) -> Any:
    """Another value of the same type; NULL stays, and is refused as well."""
    if value is None:
        return None
    return value + 1 if isinstance(value, int | float) else f"{value}x"


# ---- AK001


@pytest.mark.parametrize("state", ["frozen", "closed"])
def test_no_column_of_a_registered_claim_can_change(attacker: Attacker, state: str) -> None:
    row = attacker.row("hypothesis", f"state = '{state}'")
    for column, value in row.items():
        if column in MAY_CHANGE:
            continue
        other = changed(value)
        assert (
            attacker.code(f'UPDATE hypothesis SET "{column}" = :v WHERE id = {row["id"]}', v=other) == "AK001"
        )


def test_the_message_names_the_frozen_field(attacker: Attacker) -> None:
    with pytest.raises(RuleViolation, match=r"AK001: a frozen hypothesis cannot change \(direction\)"):
        attacker.run("UPDATE hypothesis SET direction = 'greater' WHERE id = 1")


@pytest.mark.parametrize("column", ["closed_at", "close_reason"])
def test_why_and_when_it_was_closed_cannot_change(attacker: Attacker, column: str) -> None:
    assert attacker.code(f"UPDATE hypothesis SET {column} = 'later' WHERE id = {CLOSED}") == "AK001"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("alpha", 0.5),
        ("max_hypotheses", 999),
        ("root_seed", "0"),
        ("key", "x"),
        ("procedure", "none"),
        ("seed_origin", "drawn"),
    ],
)
def test_a_campaign_never_changes(attacker: Attacker, column: str, value: object) -> None:
    assert attacker.code(f'UPDATE campaign SET "{column}" = :v', v=value) == "AK001"


# ---- AK002


@pytest.mark.parametrize("state", ["frozen", "closed"])
def test_a_hypothesis_cannot_be_inserted_past_the_draft(attacker: Attacker, state: str) -> None:
    row = attacker.row("hypothesis", "state = 'closed'") | {
        "id": 9,
        "ordinal": 9,
        "spec_sha256": "x",
        "state": state,
    }
    assert attacker.insert_code("hypothesis", row) == "AK002"


@pytest.mark.parametrize(
    ("id", "state"), [(CLOSED, "frozen"), (CLOSED, "draft"), (FROZEN, "draft"), (DRAFT, "closed")]
)
def test_states_only_move_forward(attacker: Attacker, id: int, state: str) -> None:
    extra = ", closed_at = 'now', close_reason = 'x'" if state == "closed" else ""
    assert attacker.code(f"UPDATE hypothesis SET state = '{state}'{extra} WHERE id = {id}") == "AK002"


def test_a_hypothesis_cannot_close_with_units_in_flight(attacker: Attacker) -> None:
    close = (
        f"UPDATE hypothesis SET state = 'closed', closed_at = 'now', close_reason = 'x' WHERE id = {FROZEN}"
    )
    with pytest.raises(RuleViolation, match="AK002: a dispatched unit has no outcome"):
        attacker.run(close)


def test_closing_says_when_and_why(attacker: Attacker) -> None:
    assert attacker.code(f"UPDATE hypothesis SET state = 'closed' WHERE id = {FROZEN}") == "AK002"


def test_freezing_says_when(attacker: Attacker) -> None:
    assert attacker.code(f"UPDATE hypothesis SET state = 'frozen' WHERE id = {DRAFT}") == "AK002"


# ---- AK003


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_ever_deleted(attacker: Attacker, table: str) -> None:
    assert attacker.code(f'DELETE FROM "{table}"') == "AK003"


@pytest.mark.parametrize("table", [t for t in TABLES if t not in ("hypothesis", "campaign")])
def test_no_column_of_an_append_only_table_can_change(attacker: Attacker, table: str) -> None:
    for column, value in attacker.row(table).items():
        other = changed(value)
        assert attacker.code(f'UPDATE "{table}" SET "{column}" = :v', v=other) == "AK003"


@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_replaced(attacker: Attacker, table: str) -> None:
    row = attacker.row(table)
    if table == "hypothesis":
        row |= {"state": "draft"}
    codes = set()
    if attacker.dialect == "sqlite":
        codes |= {
            attacker.insert_code(table, row, verb)
            for verb in ("REPLACE INTO", "INSERT OR REPLACE INTO", "INSERT OR IGNORE INTO")
        }
    key = ", ".join(f'"{c.name}"' for c in models.METADATA.tables[table].primary_key.columns)
    column = f'"{list(row)[-1]}"'
    codes.add(
        attacker.insert_code(
            table, row, suffix=f"ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}"
        )
    )
    codes.add(attacker.insert_code(table, row, suffix="ON CONFLICT DO NOTHING"))
    allowed = {"AK003"} | {"attempt": {"AK007"}, "outcome": {"AK007"}, "event": {"AK008"}}.get(table, set())
    allowed |= {"run": {"AK005"}, "run_unit": {"AK005", "AK006"}, "holdout_query": {"AK004"}}.get(
        table, set()
    )
    assert codes and codes <= allowed


@pytest.mark.parametrize("table", TABLES)
def test_no_table_can_be_truncated(attacker: Attacker, table: str) -> None:
    if attacker.dialect == "sqlite":  # TRUNCATE is no SQLite word: its DELETE without WHERE is the same thing
        assert attacker.code(f'DELETE FROM "{table}" WHERE 1') == "AK003"
        return
    assert attacker.code(f'TRUNCATE "{table}" CASCADE') == "AK003"


def test_a_sealed_outcome_gets_no_further_measurement(attacker: Attacker) -> None:
    row = attacker.row("measurement") | {"metric": "invented"}
    assert attacker.insert_code("measurement", row) == "AK003"


def test_a_sealed_outcome_gets_no_further_artifact(attacker: Attacker) -> None:
    assert (
        attacker.insert_code("outcome_artifact", attacker.row("outcome_artifact") | {"name": "more"})
        == "AK003"
    )


def test_a_sealed_run_gets_no_further_unit(attacker: Attacker) -> None:
    row = attacker.row("run_unit", "phase = 'explore'") | {"unit": 99, "seed": 99}
    assert attacker.insert_code("run_unit", row) == "AK003"


# ---- AK004


def test_the_error_budget_cannot_be_overspent(attacker: Attacker) -> None:
    sql = f"UPDATE hypothesis SET weight = 0.5 WHERE id = {DRAFT}"
    attacker.run(sql)  # a draft may still change; what counts is the sum when it freezes
    freeze = f"UPDATE hypothesis SET state = 'frozen', frozen_at = 'now' WHERE id = {DRAFT}"
    assert attacker.code(freeze) == "AK004"


def test_a_spent_holdout_answers_no_more(attacker: Attacker) -> None:
    row = attacker.row("holdout_query") | {"id": 2, "n": 2}
    assert attacker.insert_code("holdout_query", row) == "AK004"


# ---- AK005


def confirm_row(attacker: Attacker, hypothesis: int) -> dict[str, Any]:
    row = attacker.row("run", "phase = 'confirm'")
    return row | {"id": 99, "hypothesis": hypothesis, "job_sha256": "new"}


@pytest.mark.parametrize("hypothesis", [DRAFT, CLOSED])
def test_a_confirm_run_needs_a_frozen_open_hypothesis(attacker: Attacker, hypothesis: int) -> None:
    assert attacker.insert_code("run", confirm_row(attacker, hypothesis)) == "AK005"


def test_a_confirm_run_uses_the_tool_that_was_frozen(attacker: Attacker) -> None:
    assert attacker.insert_code("run", confirm_row(attacker, FROZEN) | {"tool": "toy.other"}) == "AK005"


@pytest.mark.parametrize("unit", [0, 4, 6, 200])
def test_confirm_units_come_in_order(attacker: Attacker, unit: int) -> None:
    statement = (
        "INSERT INTO run_unit (run, unit, hypothesis, phase, seed, retry) "
        f"VALUES (99, {unit}, {FROZEN}, 'confirm', 12345, 0)"
    )
    assert run_then(attacker, statement) == "AK005"


def test_a_hypothesis_gets_no_more_than_its_units(ledger: Ledger, plugins: Plugins) -> None:
    campaign = ledger.campaign("few")
    hypothesis = campaign.register(build(plugins, max_units=2), allow_underpowered=True)
    work(campaign.start_confirm(hypothesis, 9))
    attacker = Attacker(ledger)
    statement = "INSERT INTO run_unit (run, unit, hypothesis, phase, seed, retry) VALUES (99, 2, 1, 'confirm', 12345, 0)"
    assert run_then(attacker, statement, hypothesis=1) == "AK005"
    with pytest.raises(RuleViolation, match="AK005: hypothesis H1 has used all its 2 units"):
        campaign.start_confirm(hypothesis, 1)


def test_a_unit_is_of_its_runs_phase_and_hypothesis(attacker: Attacker) -> None:
    for phase, hypothesis in (("explore", "NULL"), ("confirm", "1"), ("explore", str(FROZEN))):
        statement = (
            "INSERT INTO run_unit (run, unit, hypothesis, phase, seed, retry) "
            f"VALUES (99, 5, {hypothesis}, '{phase}', 12345, 0)"
        )
        assert run_then(attacker, statement) == "AK005"


def run_then(attacker: Attacker, statement: str, hypothesis: int = FROZEN) -> str:
    """The rule that refuses a statement after a legal confirm run 99 was inserted in the same transaction."""
    row = confirm_row(attacker, hypothesis)
    names, places = ", ".join(f'"{n}"' for n in row), ", ".join(f":{n}" for n in row)
    with pytest.raises(RuleViolation) as caught, translated("store"), attacker.engine.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO run ({names}) VALUES ({places})"), row)
        connection.execute(sa.text(statement))
    return caught.value.code


# ---- AK006


@pytest.mark.parametrize("phase", ["explore", "confirm"])
def test_a_confirm_unit_takes_no_seed_that_was_used(attacker: Attacker, phase: str) -> None:
    seed = attacker.row("run_unit", f"phase = '{phase}'")["seed"]
    statement = (
        "INSERT INTO run_unit (run, unit, hypothesis, phase, seed, retry) "
        f"VALUES (99, 5, {FROZEN}, 'confirm', {seed}, 0)"
    )
    assert run_then(attacker, statement) == "AK006"


def test_an_explore_unit_takes_no_seed_of_a_confirm_unit(attacker: Attacker) -> None:
    seed = attacker.row("run_unit", "phase = 'confirm'")["seed"]
    row = attacker.row("run", "phase = 'explore'") | {"id": 98, "job_sha256": "new"}
    names, places = ", ".join(f'"{n}"' for n in row), ", ".join(f":{n}" for n in row)
    unit = f"INSERT INTO run_unit (run, unit, phase, seed, retry) VALUES (98, 0, 'explore', {seed}, 0)"
    with pytest.raises(RuleViolation) as caught, translated("store"), attacker.engine.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO run ({names}) VALUES ({places})"), row)
        connection.execute(sa.text(unit))
    assert caught.value.code == "AK006"


# ---- AK007


@pytest.mark.parametrize("fence", [1, 3])
def test_an_outcome_carries_the_newest_fence(attacker: Attacker, fence: int) -> None:
    waiting = attacker.row("run_unit", f"hypothesis = {FROZEN}")
    attempt = "INSERT INTO attempt (id, run, fence, worker, begun_at) VALUES (:id, :run, :fence, 'w', 'now')"
    outcome = (
        "INSERT INTO outcome (id, event_seq, run, unit, fence, status, message) "
        "VALUES (999, 1, :run, :unit, :fence, 'failed', '')"
    )
    with pytest.raises(RuleViolation) as caught, translated("store"), attacker.engine.begin() as connection:
        for number in (1, 2):
            connection.execute(sa.text(attempt), {"id": 90 + number, "run": waiting["run"], "fence": number})
        values = {"run": waiting["run"], "unit": waiting["unit"], "fence": fence}
        connection.execute(sa.text(outcome), values)
    assert caught.value.code == "AK007"


@pytest.mark.parametrize("fence", [2, 3, 7])
def test_fences_come_in_order(attacker: Attacker, fence: int) -> None:
    run = attacker.row("run_unit", f"hypothesis = {FROZEN}")["run"]
    row = {"id": 99, "run": run, "fence": fence, "worker": "w", "begun_at": "now"}
    assert attacker.insert_code("attempt", row) == "AK007"


# ---- AK008


@pytest.mark.parametrize("step", [0, 2, -1])
def test_events_come_without_a_gap(attacker: Attacker, step: int) -> None:
    last = attacker.row("event", "seq = (SELECT max(seq) FROM event)")
    row = last | {"seq": last["seq"] + step, "ref": 12345, "prev_hash": last["hash"]}
    assert attacker.insert_code("event", row) == "AK008"


def test_an_event_names_the_hash_before_it(attacker: Attacker) -> None:
    last = attacker.row("event", "seq = (SELECT max(seq) FROM event)")
    row = last | {"seq": last["seq"] + 1, "ref": 12345, "prev_hash": "0" * 64}
    assert attacker.insert_code("event", row) == "AK008"


# ---- the rules themselves


def test_all_eight_rules_are_installed_and_none_is_unnamed(ledger: Ledger) -> None:
    assert {rule.code for rule in rules.RULES} == set(rules.TITLES) == {f"AK00{i}" for i in range(1, 9)}
    with ledger.store.read() as connection:
        assert rules.installed(connection) == rules.expected(ledger.store.dialect)


def test_a_spec_cannot_be_registered_twice_even_by_hand(ledger: Ledger, plugins: Plugins) -> None:
    ledger.campaign("tokens").register(build(plugins))
    attacker = Attacker(ledger)
    row = attacker.row("hypothesis") | {"id": 2, "ordinal": 2, "state": "draft", "frozen_at": None}
    assert attacker.insert_code("hypothesis", row) == "AK003"
    assert isinstance(build(plugins), Spec)
