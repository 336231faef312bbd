"""The results folder: parquet, written atomically, read leniently.

Layout: ``runs/<run_id>.parquet`` (one row), ``launches/<run_id>.parquet`` (a row a launch, raw samples
in list columns), ``decisions/<id>.json`` and ``.md``. A file is written beside its place and moved
there, so that a reader or a crash never meets half of one. Plain ``pandas.read_parquet`` opens both
folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError, StorageError
from harness.paths import typed_path
from harness.record import (
    CHANGED_SINCE,
    LAUNCH_COLUMNS,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    arrow_schema,
    to_table,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from harness.record import Column


# Columns of a launch that tell what the machine could do.
PROBES = ("capacity_before_gflops", "capacity_after_gflops")
# More runs than these say no more of it.
_MOST_RUNS_PROBED = 20
# A table of one row takes 200 KiB; so many are made one.
_MOST_TABLES = 500


class UnreadableFileWarning(UserWarning):
    """A file in the results folder was skipped; the message says which and why."""


class Store:
    """A results folder that can be written to."""

    def __init__(self, results: str | Path) -> None:
        """Make the folder and check that it can be written.

        Raises:
            BadInputError: it cannot.
        """
        if not str(results):
            raise BadInputError("results=: empty; give results=DIR")
        self.path = typed_path(results).absolute()
        try:
            for name in ("runs", "launches", "decisions"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self.path / name):
                    pass
        except OSError as error:
            raise BadInputError(
                f"results={results}: cannot be written ({error.strerror}); give results=DIR"
            ) from None

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
        """The stored launches of a run, in order; none where the file is missing or unreadable.

        An unreadable file is set aside under another name, since the run will be written anew.
        """
        file = self.path / "launches" / f"{run_id}.parquet"
        table = _read_file(file, LAUNCH_COLUMNS)
        if table is None and file.exists():
            content = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
            file.replace(file.with_name(f".{run_id}.{content}.unreadable"))
        rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
        return sorted(rows, key=lambda row: int(row["launch_index"]))

    def probes_of(self, machine_id: str, cores: int) -> list[dict[str, Any]]:
        """The capacity probes around the launches of the newest runs on a machine, a mapping a launch.

        A hint alone: what cannot be read is left out here, and told where it is needed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        found: list[dict[str, Any]] = []
        files = sorted((self.path / "runs").glob("*.parquet"), key=_written_at, reverse=True)
        for file in files[:_MOST_RUNS_PROBED]:
            try:
                (run,) = pq.read_table(file, columns=["machine_id", "environment"]).to_pylist()
                if (run["machine_id"], json.loads(run["environment"])["cores"]) == (machine_id, cores):
                    launches = self.path / "launches" / file.name
                    found += pq.read_table(launches, columns=list(PROBES)).to_pylist()
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                continue
        return found

    def run_of(self, run_id: str) -> dict[str, Any] | None:
        """The stored row of a run, or None."""
        table = _read_file(self.path / "runs" / f"{run_id}.parquet", RUN_COLUMNS)
        return None if table is None else dict(table.to_pylist()[0])

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
        pq.write_table(to_table(rows, columns), buffer, compression="zstd")
        _replace(self.path / folder / f"{name}.parquet", buffer.getvalue().to_pybytes())


def load_runs(results: str | Path = "results") -> pd.DataFrame:
    """All runs, one row each, oldest first; columns and units in `harness.record.RUN_COLUMNS`.

    Integers and booleans that can be null come as pandas' nullable types. A file that cannot be read,
    or has a newer schema, is skipped with an UnreadableFileWarning. A folder without runs gives an
    empty frame with all columns.

    Raises:
        BadInputError: no such folder.
    """
    return _load(results, "runs", RUN_COLUMNS, ["started_at", "run_id"])


def load_launches(results: str | Path = "results", run_ids: Collection[str] | None = None) -> pd.DataFrame:
    """All launches, or those of some runs, one row each; raw samples in list columns; else as `load_runs`."""
    return _load(results, "launches", LAUNCH_COLUMNS, ["run_id", "launch_index"], run_ids)


def _load(
    results: str | Path,
    folder: str,
    columns: tuple[Column, ...],
    order: list[str],
    run_ids: Collection[str] | None = None,
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
    for file in files:
        if (read := _read_file(file, columns)) is not None:
            tables.append(read)
        if len(tables) > _MOST_TABLES:
            tables = [pa.concat_tables(tables).combine_chunks()]
    table = pa.concat_tables(tables)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame.sort_values(order, ignore_index=True)


def _read_file(file: Path, columns: tuple[Column, ...]) -> pa.Table | None:
    """A file's table in the declared schema, or None with a warning where that cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.exists():
        return None
    try:
        # Read once: a path is opened twice, and the file may be replaced in between.
        table = pq.ParquetFile(pa.BufferReader(file.read_bytes())).read()
        wanted = arrow_schema(columns)
        if table.schema.equals(wanted, check_metadata=True):  # as this version writes it
            return table
        written = int((table.schema.metadata or {}).get(b"schema_version", b"0"))
        if written > SCHEMA_VERSION:
            raise ValueError(
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
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        warnings.warn(f"skipped {file}: {reason}", UnreadableFileWarning, stacklevel=4)
        return None


def _written_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and safely on the disk before it takes its name."""
    scratch = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
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
