"""The results folder: parquet, written atomically, read leniently.

Layout: ``runs/<run_id>.parquet`` (one row), ``launches/<run_id>.parquet`` (a row a launch, raw samples
in list columns), ``decisions/<id>.json`` and ``.md``. A file is written beside its place and moved
there, so that a reader or a crash never meets half of one. Plain ``pandas.read_parquet`` opens both
folders. ``.measuring.lock`` is held by whoever measures into the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError, StorageError
from harness.locks import is_held
from harness.paths import EMPTY_RESULTS, typed_path
from harness.record import (
    CHANGED_SINCE,
    LAUNCH_COLUMNS,
    PURPOSES,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    STATUSES,
    arrow_schema,
    to_table,
)
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    import pyarrow as pa

    from harness.record import Column

    Tell = Callable[[int, int], None]


_FOLDERS = ("runs", "launches", "decisions")
_LOCK = ".measuring.lock"
# How a file's name ends until it is whole, and after how many seconds nobody is writing it any more.
_PART = ".part"
_ABANDONED_S = 60.0
# Columns of a launch that tell what the machine could do.
PROBES = ("capacity_before_gflops", "capacity_after_gflops")
# More runs than these say no more of it.
_MOST_RUNS_PROBED = 20
# A table of one row takes 200 KiB; so many are made one.
_MOST_TABLES = 500
# A launch's columns that hold one value each.
_WITHOUT_SAMPLES = tuple(column for column in LAUNCH_COLUMNS if not column.dtype.startswith("list:"))


class UnreadableFileWarning(UserWarning):
    """A file in the results folder was skipped; the message says which and why."""


class _NewerSchemaError(ValueError):
    """A newer harness wrote it."""


class Store:
    """A results folder that can be written to."""

    def __init__(self, results: str | Path) -> None:
        """Make the folder and check that it can be written.

        Raises:
            BadInputError: it cannot.
        """
        if not str(results):
            raise BadInputError(EMPTY_RESULTS)
        self.path = typed_path(results).absolute()
        try:
            for name in _FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self.path / name):
                    pass
        except OSError as error:
            raise BadInputError(
                f"results={results}: cannot be written ({error.strerror}); give results=DIR"
            ) from None

    def sweep_up(self) -> None:
        """Remove what writers that were killed left half written; whoever writes now is younger than that."""
        for folder in _FOLDERS:
            for file in (self.path / folder).glob(f".*{_PART}"):
                if time.time() - _written_at(file) > _ABANDONED_S:
                    with suppress(OSError):  # gone meanwhile, or another user's
                        file.unlink()

    @property
    def lock(self) -> Path:
        """The lock of whoever measures into this folder (`harness.locks.hold`)."""
        return self.path / _LOCK

    def write_run(self, row: Mapping[str, Any]) -> None:
        """Write or replace a run's row.

        Raises:
            StorageError: the disk is full or the folder is gone.
        """
        self._write("runs", str(row["run_id"]), [row], RUN_COLUMNS)

    def write_launches(self, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write or replace all launches of a run.

        Raises:
            StorageError: the disk is full or the folder is gone.
        """
        self._write("launches", run_id, rows, LAUNCH_COLUMNS)

    def write_decision(self, name: str, json_text: str, markdown: str) -> Path:
        """Write a decision's record; returns the JSON's path.

        Raises:
            StorageError: the disk is full or the folder is gone.
        """
        path = self.path / "decisions" / f"{name}.json"
        _replace(path, json_text.encode())
        _replace(path.with_suffix(".md"), markdown.encode())
        return path

    def launches_of(self, run_id: str) -> list[dict[str, Any]]:
        """The stored launches of a run, in order; none where there are none, or the file was set aside.

        Raises:
            BadInputError: see `_stored`.
        """
        rows = self._stored("launches", run_id, LAUNCH_COLUMNS)
        return sorted(rows, key=lambda row: int(row["launch_index"]))

    def probes_of(
        self, machine_id: str, cores: int, container_cpus: float | None = None
    ) -> list[dict[str, Any]]:
        """The capacity probes around the launches of the newest runs on a machine, a mapping a launch.

        Of runs with as many cores and the same CPU quota: what can be computed hangs on both.

        A hint alone: what cannot be read is left out here, and told where it is needed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        found: list[dict[str, Any]] = []
        wanted = (machine_id, cores, container_cpus)
        files = sorted((self.path / "runs").glob("*.parquet"), key=_written_at, reverse=True)
        for file in files[:_MOST_RUNS_PROBED]:
            try:
                (run,) = pq.read_table(file, columns=["machine_id", "environment"]).to_pylist()
                of = json.loads(run["environment"])
                if (run["machine_id"], of["cores"], of.get("container_cpus")) == wanted:
                    launches = self.path / "launches" / file.name
                    found += pq.read_table(launches, columns=list(PROBES)).to_pylist()
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                continue
        return found

    def newest_confirmation(self) -> tuple[datetime | None, set[str]]:
        """When the newest ``measure=confirm`` in the folder began, in UTC, and the ids of its runs.

        None and no run where there is none. What cannot be read is left out here, told where it is needed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = "confirmation_at"
        found: dict[datetime, set[str]] = {}
        for file in (self.path / "runs").glob("*.parquet"):
            try:
                column = pq.read_table(file, columns=[name]).column(name)
                stamps = column.cast(arrow_schema(RUN_COLUMNS).field(name).type).to_pylist()
            except (OSError, ValueError, KeyError, pa.ArrowException):
                continue
            for stamp in stamps:
                if stamp is not None:
                    found.setdefault(stamp, set()).add(file.stem)
        newest = max(found, default=None)
        return newest, set() if newest is None else found[newest]

    def run_of(self, run_id: str) -> dict[str, Any] | None:
        """The stored row of a run; None where there is none, or the file was set aside.

        Raises:
            BadInputError: see `_stored`.
        """
        return next(iter(self._stored("runs", run_id, RUN_COLUMNS)), None)

    def _stored(self, folder: str, run_id: str, columns: tuple[Column, ...]) -> list[dict[str, Any]]:
        """The rows of a run's file, which will be written anew: an unusable one is set aside and told.

        Raises:
            BadInputError: a newer harness wrote it, or it is there and the system does not give it.
        """
        import pyarrow as pa

        file = self.path / folder / f"{run_id}.parquet"
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInputError(
                f"{file} cannot be read ({error.strerror}); move it away, or give another results=DIR"
            ) from None
        try:
            return _parsed(content, columns).to_pylist()  # type: ignore[no-any-return]
        except _NewerSchemaError as error:
            raise BadInputError(f"{file}: {error}, or give another results=DIR") from None
        except (ValueError, pa.ArrowException) as error:
            aside = file.with_name(f".{run_id}.{hashlib.sha256(content).hexdigest()[:8]}.unreadable")
            file.replace(aside)
            _warn(f"set aside {file} as {aside.name}", error)
            return []

    def _write(
        self,
        folder: str,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        columns: tuple[Column, ...],
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        # A row of many columns: what sets a stronger compression up for each costs more than it saves.
        pq.write_table(to_table(rows, columns), buffer, compression="snappy")
        _replace(self.path / folder / f"{name}.parquet", buffer.getvalue().to_pybytes())


@contextmanager
def skipped_files() -> Iterator[list[str]]:
    """What is told of files that cannot be read while the block runs: a record has to say so too."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UnreadableFileWarning)
        yield notes
    for each in told:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        if issubclass(each.category, UnreadableFileWarning):
            notes.append(str(each.message))


def load_runs(results: str | Path = "results", *, tell: Tell = lambda _read, _of: None) -> pd.DataFrame:
    """All runs, one row each, the one measured last at the end; see `harness.record.RUN_COLUMNS`.

    `tell` is called with how many files were read and how many there are, after each.

    Integers and booleans that can be null come as pandas' nullable types. A file that cannot be read,
    or has a newer schema, is skipped with an UnreadableFileWarning. A folder without runs gives an
    empty frame with all columns.

    Raises:
        BadInputError: no such folder.
    """
    return _load(results, "runs", RUN_COLUMNS, ["finished_at", "run_id"], tell=tell)


def under_way(results: str | Path, runs: pd.DataFrame) -> tuple[str, ...]:
    """That interrupted runs may only be under way, where somebody measures into the folder now."""
    unfinished = int((runs["status"] == "interrupted").sum())
    if not unfinished or not is_held(typed_path(results) / _LOCK):
        return ()
    return (
        f"being measured now: {counted(unfinished, 'run')} told as interrupted may only be under way, for a "
        "process measures into this folder; look again when it is done",
    )


def load_launches(
    results: str | Path = "results", run_ids: Collection[str] | None = None, *, samples: bool = True
) -> pd.DataFrame:
    """All launches, or those of some runs, one row each; raw samples in list columns; else as `load_runs`.

    Without `samples` no list column is read, which is much quicker.
    """
    columns = LAUNCH_COLUMNS if samples else _WITHOUT_SAMPLES
    return _load(results, "launches", columns, ["run_id", "launch_index"], run_ids)


def _load(
    results: str | Path,
    folder: str,
    columns: tuple[Column, ...],
    order: list[str],
    run_ids: Collection[str] | None = None,
    *,
    tell: Tell = lambda _read, _of: None,
) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    root = typed_path(results)
    if not root.is_dir():
        raise BadInputError(f"results={results}: no such directory; measure first, or give results=DIR")
    files = sorted((root / folder).glob("*.parquet"))
    if run_ids is not None:
        files = [file for file in files if file.stem in run_ids]
    tables = [arrow_schema(columns).empty_table()]
    for number, file in enumerate(files, start=1):
        if (read := _read_file(file, columns)) is not None:
            tables.append(read)
        tell(number, len(files))
        if len(tables) > _MOST_TABLES:
            tables = [pa.concat_tables(tables).combine_chunks()]
    table = pa.concat_tables(tables)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame.sort_values(order, ignore_index=True)


def _read_file(file: Path, columns: tuple[Column, ...]) -> pa.Table | None:
    """A file's table in the declared schema, or None with a warning where that cannot be."""
    import pyarrow as pa

    try:
        # Read once: a path is opened twice, and the file may be replaced in between.
        return _parsed(file.read_bytes(), columns)
    except FileNotFoundError:  # gone meanwhile
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        _warn(f"skipped {file}", error)
        return None


def _parsed(content: bytes, columns: tuple[Column, ...]) -> pa.Table:
    """A file's content as a table in the declared schema.

    Raises:
        ValueError: it does not hold what such a file must.
        pyarrow.ArrowException: it is no parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A row or a few of many columns: to hand them to threads takes longer than to read them.
    names = [column.name for column in columns]
    table = pq.ParquetFile(pa.BufferReader(content)).read(columns=names, use_threads=False)
    wanted = arrow_schema(columns)
    written = int((table.schema.metadata or {}).get(b"schema_version", b"0"))
    if written != SCHEMA_VERSION or not table.schema.equals(wanted):
        table = _as_of_now(table, written, wanted)
    _check_rows(table, columns)
    return table


def _as_of_now(table: pa.Table, written: int, wanted: pa.Schema) -> pa.Table:
    """A table that a harness of schema `written` wrote, in today's columns."""
    import pyarrow as pa

    if written > SCHEMA_VERSION:
        raise _NewerSchemaError(
            f"schema {written} is newer than this harness's {SCHEMA_VERSION}; upgrade the harness"
        )
    table = table.drop([name for name in table.column_names if CHANGED_SINCE.get(name, 0) > written])
    known = set(table.column_names)
    missing = [field for field in wanted if field.name not in known]
    if lost := [field.name for field in missing if written == SCHEMA_VERSION or not field.nullable]:
        raise ValueError(f"columns missing: {', '.join(lost)}")
    for field in missing:  # a column that an older schema did not have, or had with another meaning
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(wanted.names).cast(wanted)


def _check_rows(table: pa.Table, columns: tuple[Column, ...]) -> None:
    """One row of a run, of a known purpose; each launch once, since evidence that is doubled is none."""
    if columns is RUN_COLUMNS:
        if table.num_rows != 1:
            raise ValueError(f"{table.num_rows} rows where a run has one")
        if (purpose := table.column("purpose")[0].as_py()) not in (None, *PURPOSES):
            raise ValueError(f"purpose {purpose!r} is none of {', '.join(PURPOSES)}")
    else:
        for name in ("launch_index", "launch_id"):
            counts = Counter(table.column(name).to_pylist())
            if twice := [value for value, count in counts.items() if count > 1]:
                raise ValueError(f"{name} {twice[0]} stands {counts[twice[0]]} times")
        figures = ("status", "p95_ms", "throughput_texts_per_s")
        for status, *values in zip(*(table.column(name).to_pylist() for name in figures), strict=True):
            for name, value in zip(figures[1:], values, strict=True):
                if value is not None and not value >= 0:
                    raise ValueError(f"{name} is {value}: no launch takes that, and one that failed has none")
            if status not in STATUSES:
                raise ValueError(f"status {status!r} is none of {', '.join(STATUSES)}")
            if status == "complete" and values[0] is None:
                raise ValueError("p95_ms is null in a launch that is complete")
        if len(of := set(table.column("run_id").to_pylist())) > 1:
            raise ValueError(f"launches of {len(of)} runs where a file has those of one")


def _warn(done: str, error: Exception) -> None:
    """Tell what was done about an unusable file, and why."""
    warnings.warn(f"{done}: {' '.join(str(error).split())}", UnreadableFileWarning, stacklevel=5)


def _written_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and safely on the disk before it takes its name."""
    scratch = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=_PART, delete=False) as file:
            scratch = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
        scratch = None
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}; what was written before is kept. Free space, "
            "or give results=DIR, and type the command again"
        ) from None
    finally:  # an interruption too leaves nothing half written
        if scratch is not None:
            scratch.unlink(missing_ok=True)
