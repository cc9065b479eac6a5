"""A loop with a real lab in it: batches and results weeks apart, every one of them a row of the ledger.

State lives in the campaign's decisions alone: `gene_setup` (what is screened), `gene_picks` (a batch that was asked
for) and `gene_results` (what the lab found). A killed process loses nothing: the same question has the same seed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit import Unit
from agentkit.errors import AgentkitError, ConfigError, TargetChangedError, near_names
from agentkit_gene.loop.closed_loop import ClosedLoop
from agentkit_gene.loop.errors import LoopStateError
from agentkit_gene.loop.pickers import make_picker
from agentkit_gene.loop.screen_files import read_answers
from agentkit_gene.screens.proposing import Heard, hear, no_proposal, question
from agentkit_gene.screens.upcoming import answers_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit import Lab
    from agentkit_gene.loop.screen import Answers, Library

SETUP, PICKS, RESULTS = "gene_setup", "gene_picks", "gene_results"
TOOL = "gene.next"
FILES_OF_RUN = (
    "SELECT a.name, a.sha256 FROM outcome_artifact a JOIN outcome o ON o.id = a.outcome WHERE o.run = "
)


@dataclass(frozen=True)
class Setup:
    """What a campaign screens; fixed by its first batch.

    Attributes:
        target: URI of the library; fingerprint: of what it held.
        task, features, picker, feedback, direction: params of `gene.next` that hold for all rounds.
    """

    target: str
    task: str = ""
    features: tuple[str, ...] = ()
    picker: str = "prior+ens"
    feedback: str = "score"
    direction: str | None = None
    fingerprint: str = ""

    def params(self) -> dict[str, Any]:
        """The same as params of `gene.next`."""
        values = {k: v for k, v in asdict(self).items() if k != "fingerprint"}
        return {**values, "features": list(self.features)}


@dataclass(frozen=True)
class Asked:
    """One batch for the lab.

    Attributes:
        round: from 1.
        batch: how many genes were asked for.
        rows: the ranked table, best first, with evidence.
        csv: the same as the text of a file.
        run: the run of the ledger that picked them.
        notes: what happened on the way (dropped names, a short batch).
        repeated: whether this batch had been asked for before.
    """

    round: int
    batch: int
    rows: tuple[dict[str, str], ...]
    csv: str
    run: str
    notes: tuple[str, ...] = ()
    repeated: bool = False

    @property
    def genes(self) -> list[str]:
        """The symbols, best first."""
        return [row["gene"] for row in self.rows]


@dataclass(frozen=True)
class Recorded:
    """Results of one round as the ledger took them.

    Attributes:
        round: from 1.
        genes: the library's symbols, in the file's order.
        hits: how many the lab called hits; None when it called none.
        missing: picks of the round without a result.
        unasked: genes with a result that no batch named.
        proposed, proposed_hits: picks with a result that a proposer had named, and how many of them are hits.
    """

    round: int
    genes: tuple[str, ...]
    hits: int | None
    missing: tuple[str, ...]
    unasked: tuple[str, ...]
    proposed: int = 0
    proposed_hits: int | None = None


@dataclass
class LabLoop:
    """Asks for batches and takes results in, within one campaign of a lab.

    Args:
        lab: runs `gene.next` and keeps the ledger.
        campaign: its campaign.
    """

    lab: Lab
    campaign: Any
    _library: list[Library] = field(default_factory=list, repr=False)

    @property
    def setup(self) -> Setup | None:
        """What is screened, once the first batch was asked for."""
        found = self.campaign.decisions(SETUP)
        return None if not found else Setup(**{**found[-1], "features": tuple(found[-1]["features"])})

    @property
    def told(self) -> list[dict[str, Any]]:
        """Recorded results, round by round."""
        return list(self.campaign.decisions(RESULTS))

    @property
    def round(self) -> int:
        """The round that `ask` answers next, from 1."""
        return len(self.told) + 1

    def begin(self, **given: Any) -> Setup:
        """Fix what is screened, or check that it is what was fixed before.

        Args:
            given: fields of `Setup`; those that are None or empty are taken from the record.

        Raises:
            ConfigError: no library was named, or another one than before.
            TargetChangedError: the library's file holds other genes than before.
        """
        named = {k: v for k, v in given.items() if v not in (None, "", ())}
        setup = self.setup
        if setup is None:
            if "target" not in named:
                raise ConfigError(
                    f"campaign {self.campaign.key!r} screens nothing yet: name the genes with --library FILE.csv or --screen NAME"
                )
            setup = Setup(**named, fingerprint=self._fingerprint(named["target"]))
            self.lab.plugins.tool(TOOL).parse({**setup.params(), "batch": 1})
            self.campaign.decide("human", SETUP, {**asdict(setup), "features": list(setup.features)})
            return setup
        for key, value in named.items():
            if getattr(setup, key) != value:
                raise ConfigError(
                    f"campaign {self.campaign.key!r} was begun with {key} {getattr(setup, key)!r}, not {value!r}; "
                    "leave it out, or begin another with --campaign NAME"
                )
        if self._fingerprint(setup.target) != setup.fingerprint:
            raise TargetChangedError(
                f"{setup.target} holds something else than when campaign {self.campaign.key!r} was begun; put the file back, "
                "or begin another with --campaign NAME"
            )
        return setup

    def ask(self, batch: int, *, propose: bool = False) -> Asked:
        """The next batch; the same one again until its results are recorded.

        Args:
            batch: how many genes.
            propose: let the lab's chat model propose seeds, sets and candidates first.

        Raises:
            ConfigError: nothing is set up, or this round was asked for with another batch.
            LoopStateError: nothing is left to test.
        """
        setup = self.setup
        if setup is None:
            raise ConfigError("begin first: a library is needed")
        if (open_batch := self._open()) is not None:
            if open_batch.batch != batch:
                raise ConfigError(
                    f"round {open_batch.round} was asked for with batch {open_batch.batch}; record its results first: "
                    "agentkit gene record results.csv"
                )
            return open_batch
        params = {**setup.params(), "batch": batch, "results": self._rows_told()}
        asked, notes = self._run(params), []
        if propose:
            heard = self._heard(asked)
            notes = list(heard.notes)
            if not heard.proposal.empty:
                asked = self._run({**params, "proposals": heard.proposal.to_json()})
        asked = Asked(asked.round, batch, asked.rows, asked.csv, asked.run, (*notes, *asked.notes))
        self._require_valid(asked)
        self.campaign.decide("framework", PICKS, {k: v for k, v in asdict(asked).items() if k != "repeated"})
        return asked

    def record(self, path: Path, *, duplicates: str = "refuse") -> Recorded:
        """Take a results file in; it ends the round.

        Args:
            path: a table with the columns gene and score, and hit where the lab has called them.
            duplicates: `mean` averages repeats instead of refusing them.

        Raises:
            ConfigError: no batch was asked for yet.
            LoopStateError: a gene outside the library, or one that has a result; nothing is recorded.
            BadScreenError: the file, the column and the first bad line.
        """
        if self.setup is None:
            raise ConfigError(
                f"campaign {self.campaign.key!r} screens nothing yet; begin with: agentkit gene next --library FILE.csv"
            )
        answers = read_answers(path, duplicates="mean" if duplicates == "mean" else "refuse")
        if self.setup.feedback == "hit" and answers.hits is None:
            raise ConfigError(
                f"{path}: campaign {self.campaign.key!r} learns from hits; add a hit column (0 or 1)"
            )
        loop = self._told_loop()
        loop.tell(answers)
        taken = loop.told[-1]
        content = {
            "round": self.round,
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "rows": _rows(taken),
        }
        recorded = self._recorded(taken)
        self.campaign.decide("human", RESULTS, content)
        return recorded

    # ---- inside

    def _run(self, params: Mapping[str, Any]) -> Asked:
        self.lab.explore(TOOL, units=1, campaign=self.campaign, **params)
        run = self.campaign.runs("explore")[-1]
        stored = self.lab.ledger.query(FILES_OF_RUN + str(run.id))
        files = {r["name"]: r["sha256"] for r in stored}
        text = self._file(files, "picks-u0.csv")
        evidence = json.loads(self._file(files, "evidence-u0.json"))
        notes = [f"not taken: {name} ({why}){_near(near)}" for name, why, near in evidence["dropped"]]
        notes += [evidence["note"]] if evidence["note"] else []
        rows = tuple(csv.DictReader(io.StringIO(text)))
        return Asked(evidence["round"], int(params["batch"]), rows, text, run.ref, tuple(notes))

    def _file(self, files: Mapping[str, str], name: str) -> str:
        if name not in files:
            raise ConfigError(f"the ledger has no {name} of this run. {near_names(name, files)}")
        path = self.lab.artifacts / f"{files[name]}{Path(name).suffix}"
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != files[name]:
            raise ConfigError(f"{path} is gone or damaged; put it back, or take another store")
        return content.decode()

    def _open(self) -> Asked | None:
        """The batch of this round, if it was asked for."""
        for found in self.campaign.decisions(PICKS):
            if found["round"] == self.round:
                values = {**found, "rows": tuple(found["rows"]), "notes": tuple(found["notes"])}
                return Asked(**values, repeated=True)
        return None

    def _heard(self, asked: Asked) -> Heard:
        """What the chat model proposes; anything wrong with it is a note and no proposal."""
        setup, library = self.setup, self._the_library()
        assert setup is not None  # noqa: S101 - the caller looked
        told = [row for r in self.told for row in r["rows"]]
        try:
            reply = self.lab.ask(
                question(setup.task or library.task, library, told, asked.rows, asked.round, asked.batch),
                campaign=self.campaign,
                tools=[],
            )
        except AgentkitError as error:  # the round goes on without it
            heard = no_proposal(f"the chat model gave no proposal ({error}); these are the offline picks")
        else:
            heard = hear(reply.text, library)
        self.campaign.decide(
            "framework", "gene_proposal", {"round": asked.round, "proposal": heard.proposal.to_json(), "notes": list(heard.notes),
                                           "invented": list(heard.invented)},
        )  # fmt: skip
        return heard

    def _require_valid(self, asked: Asked) -> None:
        """Exactly the batch, distinct, untested and in the library; fewer only when no more are left."""
        tested = {row["gene"] for r in self.told for row in r["rows"]}
        library = self._the_library()
        wanted = min(asked.batch, len(library) - len(tested))
        wrong = [g for g in asked.genes if g in tested or g not in library.position]
        if wrong or len(set(asked.genes)) != len(asked.genes) or len(asked.genes) != wanted:
            raise LoopStateError(
                f"round {asked.round}: {len(asked.genes)} picks for a batch of {wanted}, {len(wrong)} of them not valid; "
                "nothing was recorded, report this as a bug"
            )

    def _recorded(self, taken: Answers) -> Recorded:
        picks = self._open()
        asked = picks.genes if picks is not None else []
        every = {
            g for found in self.campaign.decisions(PICKS) for g in (row["gene"] for row in found["rows"])
        }
        named = {
            row["gene"] for row in (picks.rows if picks is not None else ()) if row.get("proposed") == "1"
        }
        hit = None if taken.hits is None else dict(zip(taken.genes, taken.hits.tolist(), strict=True))
        mine = [g for g in taken.genes if g in named]
        return Recorded(
            self.round,
            taken.genes,
            None if hit is None else sum(hit.values()),
            tuple(g for g in asked if g not in set(taken.genes)),
            tuple(g for g in taken.genes if g not in every),
            len(mine),
            None if hit is None else sum(hit[g] for g in mine),
        )

    def _rows_told(self) -> list[dict[str, Any]]:
        return [{**row, "round": r["round"]} for r in self.told for row in r["rows"]]

    def _told_loop(self) -> ClosedLoop:
        """A loop that knows what was told, to check new results against it; aliases are looked up only if needed."""
        library = self._the_library()
        loop = ClosedLoop(library, make_picker("random", library), self.round, 1, Unit(index=0, seed=0))
        for told in self.told:
            loop.tell(_answers(told["rows"]))
        loop.resolver = _Lazy(loop.resolver, self._aliased)  # type: ignore[assignment]  # the same two calls
        return loop

    def _aliased(self) -> Any:
        """A resolver that knows aliases, or None when no prior knowledge is there to tell them."""
        from agentkit_gene.loop.picks import Resolver

        setup = self.setup
        assert setup is not None  # noqa: S101 - the caller looked
        params: Any = self.lab.plugins.tool(TOOL).parse({**setup.params(), "batch": 1})
        library, target = self._the_library(), self._load(setup.target)
        try:
            knowledge = target.knowledge(
                library, None, [self._load(f) for f in params.features], allow_low=True
            )
        except AgentkitError:
            return None
        return Resolver(library, knowledge.other_names)

    def _the_library(self) -> Library:
        if not self._library:
            setup = self.setup
            assert setup is not None  # noqa: S101 - the callers looked
            self._library.append(self._load(setup.target).library())
        return self._library[0]

    def _load(self, uri: str) -> Any:
        loader, rest = self.lab.plugins.loader(uri)
        return loader.load(rest, "cpu")

    def _fingerprint(self, uri: str) -> str:
        return self.lab.plugins.fingerprints([uri])[uri]


class _Lazy:
    """A resolver that asks a second, slower one about names that the first does not know."""

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._make, self._made = first, second, False
        self._second: Any = None

    def __call__(self, name: str) -> str | None:
        found: str | None = self._first(name)
        if found is None and not self._made:
            self._made, self._second = True, self._make()
        return found if found is not None or self._second is None else self._second(name)

    def near(self, name: str) -> tuple[str, ...]:
        near: tuple[str, ...] = self._first.near(name)
        return near


def _rows(answers: Answers) -> list[dict[str, Any]]:
    hits: Sequence[bool | None] = [None] * len(answers) if answers.hits is None else answers.hits.tolist()
    return [
        {"gene": g, "score": float(s), "hit": h}
        for g, s, h in zip(answers.genes, np.asarray(answers.scores), hits, strict=True)
    ]


def _answers(rows: Sequence[Mapping[str, Any]]) -> Answers:
    from agentkit_gene.screens.params import Result

    return answers_of([Result(**row) for row in rows])


def _near(near: Sequence[str]) -> str:
    return f"; near names: {', '.join(near)}" if near else ""
