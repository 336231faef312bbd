"""Evaluation files of the user's own, read and checked before anything slow starts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from operator import contains
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from harness.errors import BadInputError
from harness.paths import file_stat, typed_path, unreadable
from harness.units import number_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_Read = TypeVar("_Read")
# A row of a file as it is told to the user, and its values by column.
Row = tuple[str, dict[str, Any]]

# Files with columns.
TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
# Files with one text a line.
_LINES_SUFFIXES = (".txt", "")
_STS_COLUMNS = ("sentence1", "sentence2", "score")
# Nearest neighbours of a text that two embeddings are compared by.
NEIGHBOURS = 10
# Of how relevant a document is; more is a slip of the file.
_MOST_GRADE = 1_000_000
# More letters of a value are not told.
_MOST_QUOTED = 80
# What a header of judgements calls its columns, in lower case and without what stands between the words.
_QRELS_HEADER = (
    ("queryid", "qid", "query"),
    ("corpusid", "documentid", "docid", "pid", "document", "corpus", "doc"),
    ("score", "grade", "relevance", "rel", "label"),
)
# A rank correlation of two pairs is 1 or -1 whatever they are.
_FEWEST_PAIRS = 3


class StsPairs(NamedTuple):
    """Pairs of sentences with human scores of their similarity.

    `sha256` is that of the file's bytes; `texts` [2 n_pairs], rows 2i and 2i + 1 are the sentences of pair i;
    `scores` [n_pairs], on any scale.
    """

    sha256: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]


def read_sts(file: str) -> StsPairs:
    """The pairs of a jsonl, csv, tsv or parquet file with the columns ``sentence1 sentence2 score``.

    A csv may quote its fields; in a tsv, as in the STS benchmark's own, a quote is a part of the text.

    Raises:
        BadInputError: one line on what is wrong with the file.
    """
    return _unchanged(file, _read_sts)


def _unchanged(file: str, read: Callable[[Path, int, int], _Read]) -> _Read:
    """What a cached reader makes of a file, keyed by its time and size: read anew only where it changed."""
    path = typed_path(file)
    try:
        seen = file_stat(path, told=file)
        return read(path, seen.st_mtime_ns, seen.st_size)
    except OSError as error:
        raise BadInputError(unreadable(file, error)) from None


@lru_cache(maxsize=8)
def _read_sts(path: Path, _modified_ns: int, _bytes: int) -> StsPairs:
    """As `read_sts`; a file that did not change is read once, however many plans name it."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise BadInputError(
            f"{path}: '{path.suffix}' is no format read here: give {', '.join(TABLE_SUFFIXES)}"
        )
    content = path.read_bytes()
    texts: list[str] = []
    scores: list[float] = []
    for where, row in _rows(path, content):
        _require_columns(path, row, _STS_COLUMNS)
        for name in _STS_COLUMNS[:2]:
            if not isinstance(row[name], str):
                raise BadInputError(f"{path}, {where}: {name}={_quoted(row[name])} is no text")
            texts.append(row[name])
        scores.append(_number(path, where, row["score"]))
    if len(scores) < _FEWEST_PAIRS:
        found = f"has {len(scores)} pairs" if content.strip() else "is empty"
        columns = ", ".join(_STS_COLUMNS)
        raise BadInputError(
            f"{path} {found}: a rank correlation needs at least {_FEWEST_PAIRS}; give more, with the columns "
            f"{columns}"
        )
    if len(set(scores)) == 1:
        raise BadInputError(
            f"{path}: every score is {scores[0]:g}: there is nothing to rank; give scores that differ"
        )
    return StsPairs(hashlib.sha256(content).hexdigest(), tuple(texts), tuple(scores))


class Texts(NamedTuple):
    """Distinct texts in the order of their file, the hash of its bytes, and how many texts repeat others."""

    sha256: str
    texts: tuple[str, ...]
    repeated: int


def read_texts(file: str) -> Texts:
    """The distinct texts of a file: one a line of txt, or the column ``text`` of jsonl, csv, tsv or parquet.

    Raises:
        BadInputError: one line on what is wrong with the file.
    """
    return _unchanged(file, _read_texts)


@lru_cache(maxsize=8)
def _read_texts(path: Path, _modified_ns: int, _bytes: int) -> Texts:
    content = path.read_bytes()
    found = []
    if path.suffix.lower() in TABLE_SUFFIXES:
        for where, row in _rows(path, content):
            _require_columns(path, row, ("text",))
            if not isinstance(row.get("text"), str):
                raise BadInputError(f"{path}, {where}: text={_quoted(row.get('text'))} is no text")
            found.append(row["text"])
    elif path.suffix.lower() not in _LINES_SUFFIXES:
        raise BadInputError(
            f"{path}: '{path.suffix}' is no format read here: give .txt with one text a line, or "
            f"{', '.join(TABLE_SUFFIXES)} with a column text"
        )
    else:
        found = [line.rstrip("\r") for line in _text(path, content).split("\n") if line.strip()]
    texts = tuple(dict.fromkeys(found))
    if len(texts) <= NEIGHBOURS:
        raise BadInputError(
            f"{path} has {len(texts)} distinct texts: {NEIGHBOURS} neighbours of each take at least "
            f"{NEIGHBOURS + 1}; give more"
        )
    return Texts(hashlib.sha256(content).hexdigest(), texts, len(found) - len(texts))


class StageDump(NamedTuple):
    """What somebody's provider made of a text, stage by stage; None where the file does not say.

    `where` is the line of the file. `input_ids` [n_tokens] are without padding; `pooled` and `normalised`
    [dim] are as they were given, NaN and infinity included.
    """

    where: str
    text: str
    input_ids: tuple[int, ...] | None
    pooled: tuple[float, ...] | None
    normalised: tuple[float, ...] | None


# Spellings of the last one.
_NORMALISED = ("normalised", "normalized")


def read_stages(file: str) -> tuple[StageDump, ...]:
    """A provider's dump: jsonl with ``text`` and any of ``input_ids``, ``pooled`` and ``normalised``.

    An ``attention_mask`` says which of the ids are padding; those are left out.

    Raises:
        BadInputError: one line on what is wrong with the file.
    """
    return _unchanged(file, _read_stages)


def _read_stages(path: Path, _modified_ns: int, _bytes: int) -> tuple[StageDump, ...]:
    dumps = []
    for where, row in _json_rows(path, _text(path, path.read_bytes()).split("\n")):
        if not isinstance(row.get("text"), str):
            raise BadInputError(f"{path}, {where}: text={_quoted(row.get('text'))} is no text")
        ids = _numbers(path, where, row, "input_ids", whole=True)
        mask = _numbers(path, where, row, "attention_mask", whole=True)
        if ids is not None and mask is not None:
            if len(ids) != len(mask):
                raise BadInputError(
                    f"{path}, {where}: {len(ids)} input_ids and {len(mask)} numbers of attention_mask"
                )
            ids = tuple(token for token, kept in zip(ids, mask, strict=True) if kept)
        normalised = next((name for name in _NORMALISED if name in row), _NORMALISED[0])
        dumps.append(
            StageDump(
                where,
                row["text"],
                None if ids is None else tuple(map(int, ids)),
                _numbers(path, where, row, "pooled"),
                _numbers(path, where, row, normalised),
            )
        )
    if not any(stage is not None for dump in dumps for stage in dump[2:]):
        raise BadInputError(
            f"{path}: no line has input_ids, pooled or normalised: nothing is there to compare; give a JSON "
            "object a line, with text and at least one of them"
        )
    return tuple(dumps)


def _numbers(
    path: Path, where: str, row: dict[str, Any], name: str, *, whole: bool = False
) -> tuple[float, ...] | None:
    values, kinds = row.get(name), int if whole else int | float
    if values is None:
        return None
    numbers = isinstance(values, list) and all(
        isinstance(value, kinds) and not isinstance(value, bool) for value in values
    )
    if not numbers or not values:
        raise BadInputError(f"{path}, {where}: {name} is no flat list of {'whole ' * whole}numbers")
    if whole:
        return tuple(values)
    try:
        return tuple(map(float, values))
    except OverflowError:
        raise BadInputError(
            f"{path}, {where}: {name} has a number beyond 1.8e308, the largest float"
        ) from None


class Retrieval(NamedTuple):
    """Documents, the queries that are judged, and what is relevant to each: a folder in BEIR's layout.

    `sha256` is that of the three files' bytes. `documents` and `queries` are texts, in descending order of
    `document_ids` and ascending order of `query_ids`; `relevant` [n_queries] maps rows of documents to grades
    over 0. `itself` [n_queries] is the row of the document that is the query: of the same id, and of the same
    text with its title or without it; None where there is none.
    """

    sha256: str
    document_ids: tuple[str, ...]
    documents: tuple[str, ...]
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[dict[int, int], ...]
    itself: tuple[int | None, ...]


def read_retrieval(folder: str) -> Retrieval:
    """A folder in the layout of BEIR's data sets (Thakur et al. 2021, NeurIPS Datasets and Benchmarks).

    ``corpus.jsonl`` has ``_id``, ``text`` and perhaps ``title``, ``queries.jsonl`` ``_id`` and ``text``;
    ``qrels/*.tsv`` has query id, document id and grade on each line; a header that names them may stand
    first. A document's text is its title and text. Of several qrels, ``test.tsv`` is read.

    Raises:
        BadInputError: one line on what is wrong with it.
    """
    root = typed_path(folder)
    files = (root / "corpus.jsonl", root / "queries.jsonl", _qrels_file(root))
    try:
        seen = [file.stat() for file in files]
        return _read_retrieval(files, tuple((stat.st_mtime_ns, stat.st_size) for stat in seen))
    except OSError as error:
        raise BadInputError(
            f"{error.filename}: {error.strerror or error}; a folder in BEIR's layout has corpus.jsonl, "
            "queries.jsonl and qrels/*.tsv"
        ) from None


def _qrels_file(root: Path) -> Path:
    found = sorted((root / "qrels").glob("*.tsv"))
    if len(found) == 1:
        return found[0]
    if found and root / "qrels" / "test.tsv" not in found:
        names = ", ".join(file.name for file in found)
        raise BadInputError(f"{root / 'qrels'} has {names}, and no test.tsv to choose: keep one")
    return root / "qrels" / "test.tsv"


@lru_cache(maxsize=1)
def _read_retrieval(files: tuple[Path, Path, Path], _seen: tuple[tuple[int, int], ...]) -> Retrieval:
    contents = [file.read_bytes() for file in files]
    documents, queries = (_texts_by_id(*source) for source in zip(files[:2], contents[:2], strict=True))
    ids = sorted(documents, reverse=True)
    row_of = {name: row for row, name in enumerate(ids)}
    judged: dict[str, dict[int, int]] = {}
    for where, (query, document, grade) in _judgements(files[2], contents[2]):
        if query not in queries or document not in documents:
            what, name = (files[1], query) if query not in queries else (files[0], document)
            raise BadInputError(f"{files[2]}, {where}: no _id '{name}' in {what}")
        grades = judged.setdefault(query, {})
        if row_of[document] in grades:
            raise BadInputError(f"{files[2]}, {where}: '{query}' and '{document}' are judged twice")
        grades[row_of[document]] = grade
    if not any(grade > 0 for grades in judged.values() for grade in grades.values()):
        raise BadInputError(f"{files[2]}: no grade is over 0: nothing could be found")
    names = sorted(judged)
    return Retrieval(
        hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest(),
        tuple(ids),
        tuple(documents[name][0] for name in ids),
        tuple(names),
        tuple(queries[name][0] for name in names),
        tuple({row: grade for row, grade in judged[name].items() if grade > 0} for name in names),
        tuple(row_of[name] if queries[name][0] in documents.get(name, ()) else None for name in names),
    )


def _texts_by_id(path: Path, content: bytes) -> dict[str, tuple[str, str]]:
    """Each text with its title and without it, by id."""
    texts: dict[str, tuple[str, str]] = {}
    for where, row in _rows(path, content):
        name, text, title = row.get("_id"), row.get("text"), row.get("title") or ""
        for key, value in (("_id", name), ("text", text), ("title", title)):
            if not isinstance(value, str):
                raise BadInputError(f"{path}, {where}: {key}={_quoted(value)} is no text")
        if name in texts:
            raise BadInputError(f"{path}, {where}: _id '{name}' stands twice")
        texts[str(name)] = f"{title} {text}".strip(), str(text).strip()
    if not texts:
        raise BadInputError(f"{path} is empty: give one JSON object a line, with _id and text")
    return texts


def _judgements(path: Path, content: bytes) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """Query id, document id and grade of each line; a first line that names these is a header."""
    grade: int | None
    lines = (line.rstrip("\r") for line in _text(path, content).split("\n"))  # an id may hold other breaks
    for number, line in enumerate(lines, start=1):
        values = line.split("\t")
        if not line.strip() or (number == 1 and _is_header(values)):
            continue
        try:
            query, document, written = values
            grade = None if number_in(written) is None else int(written)
        except ValueError:
            grade = None
        if grade is None or abs(grade) > _MOST_GRADE:
            raise BadInputError(
                f"{path}, line {number}: {_quoted(line)} is not query id, document id and a whole number up "
                f"to {_MOST_GRADE:,}, with tabs"
                f"{'; as a header give query-id, corpus-id, score, or none' if number == 1 else ''}"
            )
        yield f"line {number}", (query, document, grade)


def _is_header(values: list[str]) -> bool:
    names = ["".join(filter(str.isalnum, value)).lower() for value in values]
    return len(names) == len(_QRELS_HEADER) and all(map(contains, _QRELS_HEADER, names))


def _require_columns(path: Path, row: dict[str, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in row]:
        found = ", ".join(str(name) for name in row) or "none"
        raise BadInputError(
            f"{path}: no column {' or '.join(missing)}; columns found: {found}; rename them to "
            f"{', '.join(names)}"
        )


def _number(path: Path, where: str, value: object) -> float:
    number: float | None = None
    if isinstance(value, str):
        number = number_in(value)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if number is None or not math.isfinite(number):
        raise BadInputError(f"{path}, {where}: score={_quoted(value)} is no number")
    return number


def _quoted(value: object) -> str:
    """A value as an error tells it, the beginning where it is long."""
    shown = repr(value)
    return shown if len(shown) <= _MOST_QUOTED else f"{shown[:_MOST_QUOTED]}…"


def _rows(path: Path, content: bytes) -> Iterator[Row]:
    """The rows of a file by its suffix, each with where it stands.

    Raises:
        BadInputError: the content is not of that format.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, content)
        return
    text = _text(path, content)
    if suffix == ".jsonl":
        yield from _json_rows(path, text.split("\n"))  # other line breaks of Unicode may stand in a text
    else:
        yield from _csv_rows(path, text) if suffix == ".csv" else _tsv_rows(path, text)


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: no UTF-8 text, at byte {error.start}; save it as UTF-8") from None


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over.

    Raises:
        BadInputError: a line is not valid JSON, or no object, or has a key twice.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number}"

        def distinct(pairs: list[tuple[str, Any]], where: str = where) -> dict[str, Any]:
            _require_distinct(path, where, [name for name, _ in pairs], "keys")
            return dict(pairs)

        try:
            row = json.loads(line, object_pairs_hook=distinct)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else "beyond all measure"
            raise BadInputError(f"{path}, {where}: no valid JSON ({why}); give one object a line") from None
        if not isinstance(row, dict):
            raise BadInputError(f"{path}, {where}: no JSON object with keys and values")
        yield where, row


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a text of any length is one
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _require_columns_named(path, reader.fieldnames or ())
        for row in reader:
            if None in row:  # a comma within a text moved what follows it
                raise BadInputError(
                    f"{path}, line {reader.line_num}: {len(row) - 1 + len(row[None])} fields, and "
                    f"{len(reader.fieldnames or ())} columns; put a field with commas in quotes"
                )
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise BadInputError(
            f"{path}, line {reader.reader.line_num}: {error}; put a field with quotes in quotes, and double "
            "those in it"
        ) from None


def _tsv_rows(path: Path, text: str) -> Iterator[Row]:
    """A row a line: quotes are text, and a tab or a line's end stands in no field."""
    header, *lines = (line.rstrip("\r") for line in text.split("\n"))
    names = header.split("\t")
    _require_columns_named(path, names)
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        values = [_unquoted(value) for value in line.split("\t")]
        if len(values) > len(names):
            raise BadInputError(
                f"{path}, line {number}: {len(values)} fields, and {len(names)} columns; give a text with "
                "tabs as jsonl"
            )
        yield f"line {number}", dict.fromkeys(names) | dict(zip(names, values, strict=False))


def _require_columns_named(path: Path, names: Sequence[str]) -> None:
    """Refuse a first line that does not name each column once.

    Raises:
        BadInputError: with what is wrong.
    """
    if not any(names):
        raise BadInputError(f"{path}, line 1 is blank: it must name the columns")
    _require_distinct(path, "line 1", names)


def _require_distinct(path: Path, where: str, names: Sequence[str], what: str = "columns") -> None:
    """Refuse a column or key that stands twice: which of the two is meant nobody knows.

    Raises:
        BadInputError: with the names.
    """
    if len(set(names)) < len(names):
        twice = (name for name, count in Counter(names).items() if count > 1)
        raise BadInputError(
            f"{path}, {where}: {what} that stand more than once: {', '.join(twice)}; rename one"
        )


def _unquoted(field: str) -> str:
    """A field's text; one in which every quote is doubled, between two more, was quoted by what wrote it."""
    inner = field[1:-1]
    ends = len(field) > 1 and field[0] == field[-1] == '"'
    quoted = ends and '"' in inner and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else field


def _parquet_rows(path: Path, content: bytes) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        _require_distinct(path, "schema", file.schema_arrow.names)
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: no readable parquet: {' '.join(str(error).split())}") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"row {number}", row
