"""Files of the user's own: what is read, and one line on each thing that can be wrong with them."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.datasets import read_retrieval, read_sts, read_texts
from harness.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"sentence1": 'A "quoted", word', "sentence2": "naïve\u2028break", "score": 5},
    {"sentence1": "", "sentence2": "b", "score": 2.5, "genre": "news"},
    {"sentence1": "c", "sentence2": "d", "score": 0.0},
]

TOO_FEW = "a rank correlation needs at least 3; give more, with the columns sentence1, sentence2, score"


def written(rows: list[dict[str, Any]], file: Path) -> Path:
    """Rows in the format that the file's suffix names."""
    frame = pd.DataFrame(rows)
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        file.write_text("\n\n".join(lines), encoding="utf-8")
    else:
        frame.to_csv(file, sep="," if file.suffix == ".csv" else "\t", index=False)
    return file


def problem(file: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_sts(str(file))
    (line,) = caught.value.problems
    assert "\n" not in line
    assert str(file) in line
    return line.replace(str(file), "FILE")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet", "JSONL"])
def test_pairs_are_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    file = written(ROWS, tmp_path / f"pairs.{suffix.lower()}").rename(tmp_path / f"pairs.{suffix}")
    found = read_sts(str(file))
    assert found.texts == tuple(row[name] for row in ROWS for name in ("sentence1", "sentence2"))
    assert found.scores == (5.0, 2.5, 0.0)
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_quote_in_a_tsv_is_text_and_merges_no_lines(tmp_path: Path) -> None:
    texts = ('"Stop the war, he said', "He asked", 'A "cat" sits', '"Quoted"', '"Hello" she said', '"')
    file = tmp_path / "pairs.tsv"
    rows = ("\t".join((*texts[row : row + 2], str(row))) for row in (0, 2, 4))
    file.write_text("\r\n".join(["sentence1\tsentence2\tscore", *rows, ""]), encoding="utf-8", newline="")
    assert read_sts(str(file)).texts == texts


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    file = written(ROWS, tmp_path / "pairs.jsonl")
    before = read_sts(str(file))
    after = read_sts(str(written([*ROWS, ROWS[0]], file)))
    assert (len(before.scores), len(after.scores)) == (3, 4)
    assert before.sha256 != after.sha256


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_a_missing_column_is_told_with_those_that_were_found(tmp_path: Path, suffix: str) -> None:
    rows = [{"text_a": "a", "sentence2": "b", "score": 1}] * 3
    assert problem(written(rows, tmp_path / f"pairs.{suffix}")) == (
        "FILE: no column sentence1; columns found: text_a, sentence2, score; rename them to sentence1, "
        "sentence2, score"
    )


@pytest.mark.parametrize("score", ["4,5", "", "nan", "inf", None, True, [1], "1_0", "٣"], ids=repr)
def test_a_score_that_is_no_number_is_told_with_its_line(tmp_path: Path, score: Any) -> None:
    line = problem(written([*ROWS, ROWS[0] | {"score": score}], tmp_path / "pairs.jsonl"))
    assert line == f"FILE, line 7: score={score!r} is no number"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": 10**400}, f"score=1{'0' * 79}… is no number"),
        ({"score": "x" * 400}, f"score='{'x' * 79}… is no number"),
        ({"sentence1": [1] * 400}, f"sentence1=[{'1, ' * 26}1… is no text"),
    ],
    ids=["number", "text", "list"],
)
def test_a_long_value_is_told_by_its_beginning(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    line = problem(written([*ROWS, ROWS[0] | changes], tmp_path / "pairs.jsonl"))
    assert line == f"FILE, line 7: {told}"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "x", "FILE: '.txt' is no format read here: give .jsonl, .csv, .tsv, .parquet"),
        ("a.jsonl", "", f"FILE is empty: {TOO_FEW}"),
        ("a.csv", "sentence1,sentence2,score\n", f"FILE has 0 pairs: {TOO_FEW}"),
        ("a.csv", "sentence1,sentence2,score\na,b,1\nc,d,2\n",
         f"FILE has 2 pairs: {TOO_FEW}"),
        ("a.csv", "sentence1,sentence2,score\na,b\n", "FILE, line 2: score=None is no number"),
        ("a.tsv", "sentence1\tsentence2\tscore\n" + "a\tb\t1\n" * 3,
         "FILE: every score is 1: there is nothing to rank; give scores that differ"),
        ("a.tsv", "score\tsentence1\tsentence2\n1\ta\tb\tc\n",
         "FILE, line 2: 4 fields, and 3 columns; give a text with tabs as jsonl"),
        ("a.csv", "sentence1,sentence2,score\na,I have 2, 3,4.5\nb,c,2\nd,e,1\n",
         "FILE, line 2: 4 fields, and 3 columns; put a field with commas in quotes"),
        ("a.csv", "sentence1,sentence2,score,score\na,b,1,2\n",
         "FILE, line 1: columns that stand more than once: score; rename one"),
        ("a.tsv", "score\tsentence1\tsentence2\tscore\n1\ta\tb\t2\n",
         "FILE, line 1: columns that stand more than once: score; rename one"),
        ("a.jsonl", '\n{"sentence1": "a", "sentence2": "b", "score": 1, "score": 5}\n',
         "FILE, line 2: keys that stand more than once: score; rename one"),
        ("a.csv", 'sentence1,sentence2,score\n"Stop, he said,b,1\n"c" d,e,2\nf,g,3\n',
         "FILE, line 3: ',' expected after '\"'; put a field with quotes in quotes, and double those in it"),
        ("a.csv", "\nsentence1,sentence2,score\na,b,1\n", "FILE, line 1 is blank: it must name the columns"),
        ("a.tsv", "\r\nscore\tsentence1\tsentence2\n", "FILE, line 1 is blank: it must name the columns"),
        ("a.jsonl", "[1]", "FILE, line 1: no JSON object with keys and values"),
        ("a.jsonl", '{"sentence1": 1, "sentence2": "b", "score": 1}', "FILE, line 1: sentence1=1 is no text"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    assert problem(file) == told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b"{]", "FILE, line 1: no valid JSON (Expecting "),
        ("a.jsonl", b"[" * 100_000, "FILE, line 1: no valid JSON (beyond all measure); give one object"),
        ("a.csv", b"caf\xe9", "FILE: no UTF-8 text, at byte 3; "),
        ("a.parquet", b"PAR0", "FILE: no readable parquet: "),
    ],
)
def test_broken_content_is_told_in_one_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert problem(file).startswith(told)


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.csv") == "FILE: No such file or directory; give a readable file"
    (tmp_path / "folder.csv").mkdir()
    assert problem(tmp_path / "folder.csv") == "FILE: a directory; give a readable file"


# --- retrieval


HEADER = "query-id\tcorpus-id\tscore"


def test_a_text_of_a_csv_is_read_however_long_it_is(tmp_path: Path) -> None:
    long = "x" * 200_000
    file = tmp_path / "long.csv"
    file.write_text("text\n" + "".join(f'"{n} {long}"\n' for n in range(11)), encoding="utf-8")
    assert read_texts(str(file)).texts[3] == f"3 {long}"


def test_a_parquet_with_a_column_twice_is_told_as_a_csv_is(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [["a", "b", "c"], ["d", "e", "f"], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]
    names = ["sentence1", "sentence2", "score", "score"]
    parquet.write_table(pyarrow.table(columns, names=names), tmp_path / "a.parquet")
    told = "FILE, schema: columns that stand more than once: score; rename one"
    assert problem(tmp_path / "a.parquet") == told


def test_scores_of_a_parquet_may_be_decimals(tmp_path: Path) -> None:
    scores = [Decimal("0.50"), Decimal("1.25"), Decimal("2.00")]
    table = pd.DataFrame({"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": scores})
    table.to_parquet(tmp_path / "sts.parquet")
    assert read_sts(str(tmp_path / "sts.parquet")).scores == (0.5, 1.25, 2.0)


def beir(folder: Path, **changed: str) -> Path:
    """A small folder in BEIR's layout; `changed` gives the content of corpus, queries or qrels."""
    content = {
        "corpus": '{"_id": "a", "title": "T", "text": "x"}\n{"_id": "b", "text": "y"}\n',
        "queries": '{"_id": "q2", "text": "two"}\n{"_id": "q1", "text": "one"}\n{"_id": "q3", "text": "-"}\n',
        "qrels": f"{HEADER}\nq2\ta\t2\nq1\tb\t1\nq1\ta\t0\n",
    } | changed
    (folder / "qrels").mkdir(exist_ok=True)
    for name, file in (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl"), ("qrels", "qrels/test.tsv")):
        (folder / file).write_text(content[name], encoding="utf-8")
    return folder


@pytest.mark.parametrize("break_", ["\u2028", "\x0c", "\x85", "\x1e"], ids=ascii)
def test_an_id_may_hold_what_other_programs_take_for_a_line_s_end(break_: str, tmp_path: Path) -> None:
    corpus = "".join(json.dumps({"_id": name, "text": "x"}) + "\n" for name in (f"a{break_}b", "c"))
    found = read_retrieval(str(beir(tmp_path, corpus=corpus, qrels=f"q1\ta{break_}b\t1\r\nq2\tc\t1\n")))
    assert set(found.document_ids) == {f"a{break_}b", "c"}


def test_a_folder_in_beirs_layout_is_read(tmp_path: Path) -> None:
    found = read_retrieval(str(beir(tmp_path)))
    assert (found.document_ids, found.documents) == (("b", "a"), ("y", "T x"))
    assert (found.query_ids, found.queries) == (("q1", "q2"), ("one", "two")), "the judged ones alone"
    assert found.relevant == ({0: 1}, {1: 2})


@pytest.mark.parametrize(
    ("query", "itself"), [("x", 1), ("T x", 1), ("about x", None), ("T", None), ("y", None), ("X", None)]
)
@pytest.mark.parametrize("title", ["T", ""])
def test_a_document_of_a_query_s_id_is_the_query_where_its_text_is_with_its_title_or_without_it(
    query: str, itself: int | None, title: str, tmp_path: Path
) -> None:
    corpus = f'{{"_id": "q1", "title": "{title}", "text": "x"}}\n{{"_id": "z", "text": "y"}}\n'
    queries, qrels = f'{{"_id": "q1", "text": "{query}"}}\n', f"{HEADER}\nq1\tz\t1\n"
    found = read_retrieval(str(beir(tmp_path, corpus=corpus, queries=queries, qrels=qrels)))
    assert found.itself == (itself if title or query == "x" else None,)


def test_a_document_that_ends_with_the_query_is_another_one(tmp_path: Path) -> None:
    corpus = '{"_id": "q1", "text": "no more x"}\n{"_id": "z", "text": "y"}\n'
    queries, qrels = '{"_id": "q1", "text": "x"}\n', f"{HEADER}\nq1\tz\t1\n"
    assert read_retrieval(str(beir(tmp_path, corpus=corpus, queries=queries, qrels=qrels))).itself == (None,)


def test_test_tsv_is_read_among_several_qrels_and_any_other_where_it_is_alone(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    before = read_retrieval(str(folder)).sha256
    (folder / "qrels" / "train.tsv").write_text(f"{HEADER}\nq1\ta\t1\n", encoding="utf-8")
    assert read_retrieval(str(folder)).sha256 == before
    (folder / "qrels" / "test.tsv").unlink()
    assert read_retrieval(str(folder)).relevant == ({1: 1},)
    (folder / "qrels" / "dev.tsv").write_text(f"{HEADER}\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"has dev\.tsv, train\.tsv, and no test\.tsv"):
        read_retrieval(str(folder))


@pytest.mark.parametrize("header", ["", "Query_ID\tdoc-id\trelevance\n", "qid\tpid\tlabel\n"])
def test_judgements_are_all_read_with_a_header_and_without_one(header: str, tmp_path: Path) -> None:
    found = read_retrieval(str(beir(tmp_path, qrels=f"{header}q2\ta\t2\nq1\tb\t1\n")))
    assert (found.query_ids, found.relevant) == (("q1", "q2"), ({0: 1}, {1: 2}))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"qrels": f"{HEADER}\nq1\ta\t{10**400}\n"},
            "is not query id, document id and a whole number up to 1,000,000",
        ),
        (
            {"qrels": f"{HEADER}\nq1\t0\ta\t1\n"},
            "line 2: 'q1\\t0\\ta\\t1' is not query id, document id and a whole",
        ),
        (
            {"qrels": "q1\ta\tx\nq2\tb\t1\n"},
            "line 1: 'q1\\ta\\tx' is not query id, document id and a whole number up to 1,000,000, with "
            "tabs; as a header give query-id, corpus-id, score, or none",
        ),
        ({"qrels": "q1\ta\t1_0\n"}, "line 1: 'q1\\ta\\t1_0' is not query id, document id and a whole"),
        ({"qrels": f"{HEADER}\nq1\ta\t٣\n"}, "line 2: 'q1\\ta\\t٣' is not query id, document id and a whole"),
        ({"qrels": "q1\ta\t1.5\n"}, "line 1: 'q1\\ta\\t1.5' is not query id, document id and a whole"),
        ({"corpus": ""}, "corpus.jsonl is empty: "),
        ({"corpus": '{"id": "a", "text": "x"}'}, "corpus.jsonl, line 1: _id=None is no text"),
        ({"queries": '{"_id": "q", "text": 3}'}, "queries.jsonl, line 1: text=3 is no text"),
        ({"queries": '{"_id": "q", "text": ""}\n' * 2}, "queries.jsonl, line 2: _id 'q' stands twice"),
        (
            {"qrels": f"{HEADER}\nq1 a 1\n"},
            "line 2: 'q1 a 1' is not query id, document id and a whole number",
        ),
        (
            {"qrels": f"{HEADER}\nq1\ta\t1.5\n"},
            "line 2: 'q1\\ta\\t1.5' is not query id, document id and a whole",
        ),
        ({"qrels": f"{HEADER}\nq9\ta\t1\n"}, "line 2: no _id 'q9' in "),
        ({"qrels": f"{HEADER}\nq1\tz\t1\n"}, "line 2: no _id 'z' in "),
        ({"qrels": f"{HEADER}\nq1\ta\t1\nq1\ta\t2\n"}, "line 3: 'q1' and 'a' are judged twice"),
        ({"qrels": f"{HEADER}\nq1\ta\t0\n"}, "test.tsv: no grade is over 0"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        read_retrieval(str(beir(tmp_path, **changed)))
    (line,) = caught.value.problems
    assert told in line
    assert "\n" not in line


def test_a_folder_that_lacks_a_file_is_told_with_what_it_should_have(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"corpus\.jsonl: No such file .* queries\.jsonl and qrels/\*\.tsv"
    ):
        read_retrieval(str(tmp_path))


# --- texts


def test_texts_are_lines_or_a_column_and_each_counts_once(tmp_path: Path) -> None:
    texts = [f'text {n}, "quoted"' for n in range(11)]
    plain = tmp_path / "texts.txt"
    plain.write_text("\r\n".join([*texts, "", texts[3]]), encoding="utf-8", newline="")
    assert (read_texts(str(plain)).texts, read_texts(str(plain)).repeated) == (tuple(texts), 1)
    assert read_texts(str(plain.rename(tmp_path / "texts"))).texts == tuple(texts)
    rows = [{"id": n, "text": text} for n, text in enumerate(texts)]
    for suffix in ("jsonl", "csv", "tsv", "parquet"):
        found = read_texts(str(written(rows, tmp_path / f"texts.{suffix}")))
        assert (found.texts, found.repeated) == (tuple(texts), 0)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "one\ntwo\n", "has 2 distinct texts: 10 neighbours of each take at least 11"),
        ("a.jsonl", '{"text": 3}', "line 1: text=3 is no text"),
        ("a.jsonl", '{"body": "x"}', "no column text; columns found: body; rename them to text"),
        ("a.csv", "a text, and no header\n" * 20, "no column text; columns found: a text,  and no header"),
        ("a.csv", "id,text\n1,a, b\n", "line 2: 3 fields, and 2 columns; put a field with commas in quotes"),
        ("a.json", '["one", "two"]', "'.json' is no format read here: give .txt with one text a line, or "),
        ("a.parquet", "none", "no readable parquet"),
    ],
)
def test_texts_that_cannot_be_used_are_told_in_one_line(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=told) as caught:
        read_texts(str(tmp_path / name))
    assert len(caught.value.problems) == 1
