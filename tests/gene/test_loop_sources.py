"""Screens, results and prior knowledge from files: what is read, what is refused and how, what is kept."""

from __future__ import annotations

import gzip
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from agentkit.errors import AgentkitError, MissingExtraError, TargetUnavailableError
from agentkit_gene.loop import discovery
from agentkit_gene.loop.closed_loop import ClosedLoop
from agentkit_gene.loop.discovery import find_sources, load_knowledge
from agentkit_gene.loop.errors import BadFeatureError, BadScreenError, NoFeaturesError
from agentkit_gene.loop.feature_cache import load, store
from agentkit_gene.loop.features import build_knowledge
from agentkit_gene.loop.pickers import make_picker
from agentkit_gene.loop.screen import Library
from agentkit_gene.loop.screen_files import read_answers, read_library, read_screen, read_shared
from agentkit_gene.loop.sources import Edges, GeneSets, GeneTable, SymbolTable, block_of, read_source
from tests.gene.loop_kit import UNIT, gene, shared_screen, toy_knowledge, toy_screen, toy_sources


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_rows_of_a_screen_file_may_come_in_any_order(tmp_path: Path) -> None:
    rows = ["B,1.5,1", "A,-2,0", "C,0.25,1"]
    first = read_screen(written(tmp_path, "one.csv", "\n".join(["gene,score,hit", *rows])))
    second = read_screen(written(tmp_path, "two.csv.gz", "\n".join(["gene,score,hit", *rows[::-1]])))
    assert first.library.symbols == second.library.symbols == ("A", "B", "C")
    np.testing.assert_array_equal(first.answer("CAB").scores, [0.25, -2, 1.5])
    np.testing.assert_array_equal(first.true_hits(), second.true_hits())


def test_shuffled_screen_and_feature_rows_give_the_same_picks() -> None:
    toy, picks = toy_screen(), []
    for reverse in (False, True):
        turned: list[object] = []
        for s in toy_sources():
            if not reverse:
                turned.append(s)
            elif isinstance(s, GeneSets):
                turned.append(GeneSets(s.block, {k: list(v)[::-1] for k, v in reversed(s.sets.items())}))
            elif isinstance(s, Edges):
                turned.append(Edges(s.block, list(s.edges)[::-1]))
            elif isinstance(s, GeneTable):
                turned.append(GeneTable(s.block, s.genes[::-1], s.columns, s.values[::-1]))
            elif isinstance(s, SymbolTable):
                turned.append(
                    SymbolTable(
                        s.symbols[::-1], s.names[::-1], s.other[::-1], s.identifiers[::-1], s.papers[::-1]
                    )
                )
        knowledge = build_knowledge(toy.library, turned[::-1] if reverse else turned)
        loop = ClosedLoop(toy, make_picker("prior+ens", toy.library, knowledge), 3, 20, UNIT)
        while not loop.done:
            loop.tell(toy.answer(loop.ask()))
        picks.append([b.genes for b in loop.asked])
    assert picks[0] == picks[1]


def test_a_side_file_gives_task_direction_study_and_essential_genes(tmp_path: Path) -> None:
    written(tmp_path, "mine.toml", 'task = "t"\ndirection = "high"\nstudy = "me"\nessential = "ess.csv"\n')
    written(tmp_path, "ess.csv", "gene\nB\n")
    path = written(tmp_path, "mine.csv", "gene,score,hit,control\nA,1,1,0\nB,2,1,0\nNT1,0.1,0,1\n")
    library = read_screen(path).library
    assert (library.task, library.direction, library.study, library.symbols) == (
        "t",
        "high",
        "me",
        ("A", "B"),
    )
    assert library.essential_mask.tolist() == [False, True]
    assert library.control_scores == (0.1,)
    assert read_screen(path, task="mine").library.task == "mine"
    assert read_library(path).symbols == ("A", "B")
    written(tmp_path, "mine.toml", 'taks = "t"\n')
    with pytest.raises(BadScreenError, match="task"):
        read_screen(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene,hit\nA,1\n", "no score column"),
        ("symbol,score\nA,1\n", "no gene column"),
        ("gene,score\nA,1\nB,NaN\n", "column score, line 3"),
        ("gene,score\nA,1\nB,high\n", "column score, line 3: 'high'"),
        ("gene,score\n", "no rows"),
        ("", "empty"),
        ("gene,score\nA,1\n,2\n", "line 3"),
        ("gene,score\nA,1\nB\n", "line 3 has 1 fields"),
        ("gene,score,hit\nA,1,maybe\n", "column hit, line 2"),
        ("gene,score\nA,1\nB,1\nA,2\n", "lines 2, 4"),
        ("gene,score,score\nA,1,2\n", "comes twice"),
        ("gene_a,gene_b,score\nA,,2\n", "line 2"),
    ],
)
def test_bad_screens_are_refused_with_file_column_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, "bad.csv", text)
    with pytest.raises(BadScreenError, match=said) as caught:
        read_screen(path)
    assert "bad.csv" in str(caught.value)


@pytest.mark.parametrize("content", [b"\x00\xff\xfe" * 50, b"PK\x03\x04broken", b""])
def test_binary_rubbish_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    for name in ("x.csv", "x.csv.gz", "x.parquet", "x.gmt", "x.sif.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AgentkitError):
            read_screen(tmp_path / name)
        with pytest.raises(AgentkitError):
            read_source(tmp_path / name)
    with pytest.raises(BadScreenError, match="no such file"):
        read_screen(tmp_path / "absent.csv")


def test_repeats_collapse_when_equal_and_are_averaged_when_told(tmp_path: Path) -> None:
    equal = read_screen(written(tmp_path, "e.csv", "gene,score\nA,1\nA,1\nB,2\n"))
    assert equal.library.symbols == ("A", "B") and equal.library.notes == ("A came 2 times",)
    path = written(tmp_path, "d.csv", "gene,score,hit\nA,1,0\nA,3,1\nB,2,0\n")
    averaged = read_screen(path, duplicates="mean").answer(["A"])
    assert averaged.scores[0] == 2.0 and averaged.hits[0]
    with pytest.raises(BadScreenError, match="duplicates=mean"):
        read_answers(path)


def test_pairs_are_sorted_and_control_rows_leave(tmp_path: Path) -> None:
    text = "gene_a,gene_b,score,hit\nB,A,1,1\nA,C,2,0\nA,negative,0.1,0\nnegative,B,0.2,0\n"
    screen = read_screen(written(tmp_path, "p.csv", text))
    assert screen.library.symbols == ("A+B", "A+C")
    assert screen.library.genes == ("A", "B", "C")
    assert screen.library.members.tolist() == [[0, 1], [0, 2]]
    with pytest.raises(BadScreenError, match="lines 2, 3"):
        read_screen(written(tmp_path, "q.csv", "gene_a,gene_b,score\nA,B,1\nB,A,2\n"))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"gene": ["B", "A"], "score": [1.0, 2.0], "hit": [True, False]})
    parquet.write_table(table, tmp_path / "s.parquet")
    screen = read_screen(tmp_path / "s.parquet")
    assert screen.library.symbols == ("A", "B") and screen.true_hits().tolist() == [False, True]


def test_each_kind_of_feature_file_is_told_by_its_content(tmp_path: Path) -> None:
    gmt = read_source(written(tmp_path, "GO_BP.gmt.gz", "one\t\tA\tB,0.5\t\ntwo\tnote\tC\tA\n"))
    assert isinstance(gmt, GeneSets) and gmt.block == "go"
    assert gmt.sets == {"one": ["A", "B"], "two": ["C", "A"]}
    sif = read_source(written(tmp_path, "net.sif", "A\tinteracts-with\tB\nA odd C\n"))
    assert isinstance(sif, Edges) and sif.edges == [("A", "interacts-with", "B"), ("A", "odd", "C")]
    complexes = read_source(written(tmp_path, "corum.csv", '"","ID","Name","Genes"\n1,1,"x","A;B"\n'))
    assert (
        isinstance(complexes, GeneSets) and complexes.sets == {"x": ["A", "B"]} and complexes.block == "path"
    )
    long = read_source(written(tmp_path, "mine.csv", "set,gene\ns,A\ns,B\n"))
    assert isinstance(long, GeneSets) and long.sets == {"s": ["A", "B"]} and long.block == "mine"
    numbers = read_source(written(tmp_path, "tissue.csv", "gene,liver,brain\nA,1,2\nB,3,4\n"))
    assert (
        isinstance(numbers, GeneTable)
        and numbers.block == "expr"
        and numbers.values.tolist() == [[1, 2], [3, 4]]
    )
    head = "symbol\tname\talias_symbol\tprev_symbol\tensembl_gene_id\tpubmed_id\n"
    table = read_source(written(tmp_path, "hgnc.txt", head + 'A\tfirst\t"X|Y"\tOLD\tE1\t"1|2"\n'))
    assert isinstance(table, SymbolTable) and table.other == [["OLD", "X", "Y"]] and table.papers == [2.0]
    assert block_of(Path("wiki.gmt")) == "path" and block_of(Path("My Sets.gmt")) == "my_sets"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.gmt", "name\tnote\n", "line 1 has 2 fields"),
        ("a.sif", "A\tx\tB\nA\tB\n", "line 2 has 2 fields"),
        ("a.csv", "gene,liver\nA,much\n", "'much' is no number"),
        ("a.csv", "gene\nA\n", "one column"),
        ("a.csv", "gene,liver\nA,1,2\n", "row 2 has 3 fields"),
        ("a.csv", "gene,liver\nA,inf\n", "not finite"),
        ("a.md", "hello world", "none of .gmt"),
        ("a.csv", "  \n", "empty"),
    ],
)
def test_feature_files_of_the_wrong_kind_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(BadFeatureError, match=said):
        read_source(written(tmp_path, name, text))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "f.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadFeatureError, match="never read"):
        read_source(tmp_path / "f.pkl")
    np.savez(tmp_path / f"{'0' * 64}.npz", x=np.array([Bomb()], dtype=object))
    assert load(tmp_path, "0" * 64) is None
    assert not (tmp_path / "ran").exists()


def test_symbols_are_found_by_old_names_and_identifiers() -> None:
    genes = ("GENE002", "OLD1", "ZZZ")
    sources = [
        *toy_sources(5)[4:],
        GeneSets("go", {"s": ["GENE001", "OLD2", "ZZZ"]}),
        GeneTable("expr", ["ENSG00000000002.7"], ["a"], np.array([[8.0]])),
    ]
    k = build_knowledge(Library("l", genes), sources)
    assert k.membership.toarray().ravel().tolist() == [1, 1, 1]
    assert k.expression.tolist() == [8.0, 0.0, 0.0]
    assert k.other_names["GENE001"] == ("OLD1",)
    assert set(k.other_names["ALIAS0"]) == {"OLD1"} and k.full_names[1] == "cytokine factor 1"


def test_two_symbols_of_one_gene_both_stay_share_features_and_are_listed() -> None:
    k = build_knowledge(Library("l", ("GENE001", "GENE002", "OLD1")), toy_sources(5))
    assert k.genes == ("GENE001", "GENE002", "OLD1")
    np.testing.assert_allclose(k.x[0], k.x[2], atol=1e-12)
    assert [n for n in k.notes if "GENE001 and OLD1 are symbols of one approved gene" in n]


def test_low_coverage_and_symbols_of_another_species_are_refused_with_a_hint() -> None:
    yeast = Library("yeast", tuple(f"YAL{i:03d}C" for i in range(50)))
    with pytest.raises(BadFeatureError, match=r"only 0%.*expr 0%.*organism"):
        build_knowledge(yeast, toy_sources())
    assert build_knowledge(yeast, toy_sources(), allow_low_coverage=True).coverage == 0
    mouse = Library("mouse", tuple(f"Gene{i:03d}" for i in range(60)))
    with pytest.raises(BadFeatureError, match="another species"):
        build_knowledge(mouse, toy_sources())
    assert build_knowledge(mouse, toy_sources(), allow_low_coverage=True).coverage == 1


def test_a_library_without_any_knowledge_still_gets_full_batches() -> None:
    screen = toy_screen()
    stranger = Library("l", tuple(f"YAL{i:03d}C" for i in range(200)), task="t")
    knowledge = build_knowledge(stranger, toy_sources(), allow_low_coverage=True)
    for name in ("prior", "prior+ens", "gp_thompson", "coreset", "kmeans", "trees"):
        loop = ClosedLoop(stranger, make_picker(name, stranger, knowledge), 3, 30, UNIT)
        for _ in range(2):
            picks = loop.ask()
            assert len(set(picks)) == 30
            answers = screen.answer([gene(stranger.position[p]) for p in picks])
            loop.tell(type(answers)(tuple(picks), answers.scores, answers.hits))
        assert len(set(loop.ask())) == 30


def test_kept_features_are_the_built_ones_and_damage_is_noticed(tmp_path: Path) -> None:
    built = toy_knowledge()
    store(tmp_path, built)
    kept = load(tmp_path, built.sha256)
    np.testing.assert_array_equal(kept.x, built.x)
    assert (kept.membership != built.membership).nnz == (kept.adjacency != built.adjacency).nnz == 0
    for name in (
        "genes",
        "blocks",
        "set_names",
        "set_blocks",
        "full_names",
        "other_names",
        "notes",
        "sha256",
    ):
        assert getattr(kept, name) == getattr(built, name)
    path = tmp_path / f"{built.sha256}.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert load(tmp_path, built.sha256) is None
    assert load(tmp_path, "absent") is None


def test_features_are_built_once_and_again_only_when_a_source_changes(tmp_path: Path, monkeypatch) -> None:
    genes = tuple(gene(i) for i in range(40))
    sets = written(
        tmp_path, "go.gmt", "\n".join(f"s{i}\t\t" + "\t".join(genes[i : i + 5]) for i in range(30)) + "\n"
    )
    built: list[int] = []

    def counted(*args: object, **kwargs: object) -> object:
        built.append(1)
        return build_knowledge(*args, **kwargs)

    monkeypatch.setattr(discovery, "build_knowledge", counted)
    library = Library("l", genes)
    first = load_knowledge(library, [sets], cache=tmp_path / "kept")
    again = load_knowledge(library, [f"go={sets}"], cache=tmp_path / "kept")
    assert len(built) == 1
    np.testing.assert_array_equal(first.x, again.x)
    sets.write_text(sets.read_text() + "t\t\tGENE001\tGENE030\tGENE031\n")
    assert load_knowledge(library, [sets], cache=tmp_path / "kept").sha256 != first.sha256
    assert len(built) == 2


def test_packages_are_read_through_their_metadata_and_never_imported(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AGENTKIT_SCREEN_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(discovery, "PACKAGE_FILES", discovery.PACKAGE_FILES[:1])
    monkeypatch.setattr(discovery.metadata, "files", _absent)
    with pytest.raises(NoFeaturesError, match="--no-deps pyenrichr"):
        find_sources()
    monkeypatch.undo()
    monkeypatch.setenv("AGENTKIT_SCREEN_DATA", str(tmp_path / "none"))
    site = tmp_path / "site"
    data = site / "pyenrichr" / "data"
    data.mkdir(parents=True)
    (site / "pyenrichr" / "__init__.py").write_text("raise RuntimeError('imported')")
    (data / "GO_Biological_Process_2023").write_text("s (GO:1)\t\tA\tB\tC\t\n")
    info = site / "pyenrichr-1.0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pyenrichr\nVersion: 1.0.2\n")
    (info / "RECORD").write_text("pyenrichr/data/GO_Biological_Process_2023,,\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setattr(discovery, "PACKAGE_FILES", discovery.PACKAGE_FILES[:1])
    (source,) = find_sources()
    assert source.block == "go" and source.sets == {"s (GO:1)": ["A", "B", "C"]}
    assert "pyenrichr" not in sys.modules


def _absent(name: str) -> list[object]:
    raise discovery.metadata.PackageNotFoundError(name)


def test_an_absent_shared_folder_says_which_variable_to_set(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AGENTKIT_SCREEN_DATA", str(tmp_path))
    with pytest.raises(TargetUnavailableError, match="set AGENTKIT_SCREEN_DATA"):
        read_shared("IL2")


def test_without_scikit_learn_the_error_has_the_pip_line(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    loop = ClosedLoop(toy_screen(), make_picker("trees", toy_screen().library, toy_knowledge()), 2, 40, UNIT)
    loop.tell(loop.screen.answer(loop.ask()))
    with pytest.raises(MissingExtraError, match=r"agentkit-perturb\[gene\]"):
        loop.ask()
    for name in ("random", "prior", "gp_thompson", "coreset", "kmeans"):
        fine = ClosedLoop(toy_screen(), make_picker(name, toy_screen().library, toy_knowledge()), 2, 20, UNIT)
        fine.tell(fine.screen.answer(fine.ask()))
        assert len(fine.ask()) == 20


@pytest.mark.parametrize(
    ("name", "genes", "hits", "essential"),
    [
        ("IL2", 18939, 654, 173),
        ("IFNG", 18418, 920, 118),
        ("Scharenberg22", 1055, 53, 4),
        ("Horlbeck_pairs", 100128, 9959, None),
    ],
)
def test_shared_screens_are_read_as_described(
    name: str, genes: int, hits: int, essential: int | None
) -> None:
    screen = shared_screen(name)
    assert len(screen.library) == genes
    assert screen.true_hits().sum() == hits
    assert screen.library.task and screen.library.study
    if essential is not None:
        assert (screen.true_hits() & screen.library.essential_mask).sum() == essential
    with pytest.raises(TargetUnavailableError, match="IL2"):
        read_shared("IL-2")
