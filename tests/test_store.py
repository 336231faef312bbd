"""The results folder: whole files or none, read by plain tools, one bad file never the end of the reading."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from harness.errors import BadInputError, ExitCode, StorageError
from harness.measure.disturbance import reference_gflops
from harness.record import CHANGED_SINCE, LAUNCH_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION
from harness.store import Store, UnreadableFileWarning, load_launches, load_runs
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ODD_NAMES = ["two words", "a,b", "batch_size=8", "Résultats été", "~x", "(1)", "it's", "[a]", "100%", "a#b?c"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def filled(store: Store) -> Store:
    """Two runs of three launches each."""
    for number, name in enumerate(("r1", "r2")):
        store.write_run(run_row(name, started_at=STARTED + timedelta(hours=number)))
        store.write_launches(name, [launch_row(i, run_id=name) for i in range(3)])
    return store


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_row_comes_back_as_it_was_written(store: Store) -> None:
    row = run_row(threads=2, error="é, 'quoted'\nand more", launch_p95_ms=[1.0, float("inf")])
    store.write_run(row)
    assert store.run_of("r1") == row
    assert store.run_of("r2") is None


def test_launches_come_back_in_their_order(store: Store) -> None:
    store.write_launches("r1", [launch_row(i) for i in (2, 0, 1)])
    assert [row["launch_index"] for row in store.launches_of("r1")] == [0, 1, 2]
    assert store.launches_of("r2") == []


def test_a_row_written_again_replaces_the_first(store: Store) -> None:
    store.write_run(run_row(launches=1))
    store.write_run(run_row(launches=2))
    assert load_runs(store.path)["launches"].tolist() == [2]


def test_a_row_that_breaks_the_schema_is_never_written(store: Store) -> None:
    store.write_run(run_row())
    before = files_under(store.path)
    with pytest.raises(Exception, match="no schema declares"):
        store.write_run(run_row(unheard_of=1))
    assert files_under(store.path) == before


def test_a_decision_is_written_twice_over_as_json_and_as_a_page(store: Store) -> None:
    path = store.write_decision("abc", '{"é": 1}\n', "# GO: é\n")
    assert path == store.path / "decisions" / "abc.json"
    assert path.read_text(encoding="utf-8") == '{"é": 1}\n'
    assert path.with_suffix(".md").read_text(encoding="utf-8") == "# GO: é\n"


@pytest.mark.parametrize("name", ["results", *ODD_NAMES])
def test_plain_pandas_and_pyarrow_open_both_folders_whatever_they_are_called(
    name: str, tmp_path: Path
) -> None:
    root = filled(Store(tmp_path / name)).path
    runs, launches = pd.read_parquet(root / "runs"), pd.read_parquet(root / "launches")
    assert (sorted(runs["run_id"]), len(launches)) == (["r1", "r2"], 6)
    assert list(runs.columns) == [c.name for c in RUN_COLUMNS]
    assert list(launches.columns) == [c.name for c in LAUNCH_COLUMNS]
    assert pq.read_table(root / "launches").num_rows == 6
    assert ds.dataset(root / "runs").count_rows() == 2
    assert load_runs(root)["run_id"].tolist() == ["r1", "r2"]


def test_files_can_be_read_by_other_users(store: Store) -> None:
    filled(store)
    assert {p.stat().st_mode & 0o777 for p in store.path.rglob("*.parquet")} == {0o644}


def test_runs_are_read_oldest_first_and_launches_run_by_run(store: Store) -> None:
    store.write_run(run_row("a", started_at=STARTED + timedelta(days=1)))
    store.write_run(run_row("z", started_at=STARTED))
    for name in ("z", "a"):
        store.write_launches(name, [launch_row(i, run_id=name) for i in (1, 0)])
    assert load_runs(store.path)["run_id"].tolist() == ["z", "a"]
    launches = load_launches(store.path)
    assert list(zip(launches["run_id"], launches["launch_index"], strict=True)) == [
        ("a", 0),
        ("a", 1),
        ("z", 0),
        ("z", 1),
    ]


@pytest.mark.parametrize("known", [True, False])
def test_whole_numbers_and_flags_that_can_be_null_stay_what_they_are(store: Store, known: bool) -> None:
    unknown = {} if known else dict.fromkeys(("threads", "params", "nodes_total", "peak_rss_bytes", "finite"))
    store.write_run(run_row(**({"threads": 2, "nodes_total": 2**53 + 1} | unknown)))
    runs = load_runs(store.path)
    for name in ("threads", "params", "nodes_total", "peak_rss_bytes", "launches", "ep_nodes"):
        assert runs[name].dtype == pd.Int64Dtype()
    for name in ("finite", "settled"):
        assert runs[name].dtype == pd.BooleanDtype()
    assert runs["finite"].isna().tolist() == [not known]
    if known:
        assert (runs["threads"][0], runs["nodes_total"][0]) == (2, 2**53 + 1)
    else:
        assert runs["threads"][0] is pd.NA


def test_launches_are_read_without_the_samples_of_requests_too(store: Store) -> None:
    store.write_launches("run1", [launch_row(0), launch_row(1)])
    whole, light = load_launches(store.path), load_launches(store.path, samples=False)
    left = [column.name for column in LAUNCH_COLUMNS if column.name not in light.columns]
    assert {"total_ns", "infer_ns", "new_shape_ns", "block_rss_bytes"} < set(left)
    pd.testing.assert_frame_equal(light, whole.drop(columns=left))


def test_flags_of_a_launch_are_nullable_too(store: Store) -> None:
    store.write_launches("r1", [launch_row(0), launch_row(1, disturbed=True, pid=None)])
    launches = load_launches(store.path)
    assert launches["disturbed"].dtype == pd.BooleanDtype()
    assert launches["disturbed"].tolist() == [pd.NA, True]
    assert launches["pid"].dtype == pd.Int64Dtype()


def test_raw_samples_come_in_list_columns_and_figures_as_floats(store: Store) -> None:
    filled(store)
    runs, launches = load_runs(store.path), load_launches(store.path)
    assert [int(ns) for ns in launches["total_ns"][0]] == [12_000_000] * 100
    assert launches["scheduled_ns"].isna().all()
    assert list(runs["launch_p95_ms"][0]) == [12.0] * 20
    assert runs["latency_p95_ms"].dtype == "float64"
    assert str(runs["started_at"].dt.tz) == "UTC"


@pytest.mark.parametrize("make", [lambda path: Store(path), lambda path: path.mkdir()])
def test_an_empty_folder_gives_empty_frames_with_all_columns(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    root = tmp_path / "results"
    make(root)
    runs, launches = load_runs(root), load_launches(root)
    assert (len(runs), list(runs.columns)) == (0, [c.name for c in RUN_COLUMNS])
    assert (len(launches), list(launches.columns)) == (0, [c.name for c in LAUNCH_COLUMNS])
    assert runs["threads"].dtype == pd.Int64Dtype()
    assert runs["finite"].dtype == pd.BooleanDtype()


@pytest.mark.parametrize("load", [load_runs, load_launches])
def test_a_folder_that_does_not_exist_is_bad_input(load: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(BadInputError, match=f"results={path}: no such directory"):
            load(path)
    assert not (tmp_path / "nowhere").exists()


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def scribbled(file: Path) -> None:
    file.write_bytes(b"not parquet at all")


def of_a_newer_schema(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    newer = {b"schema_version": str(SCHEMA_VERSION + 1).encode()}
    pq.write_table(table.replace_schema_metadata(newer), file)


def without_rows(file: Path) -> None:
    pq.write_table(pq.read_table(file, partitioning=None).slice(0, 0), file)


def changed(column: str, *values: Any) -> Callable[[Path], None]:
    """Damage: a file's column with these values, one a row, the last one for all that are left."""

    def damage(file: Path) -> None:
        table = pq.read_table(file, partitioning=None)
        index, field = table.schema.get_field_index(column), table.field(column)
        filled = [*values, *values[-1:] * table.num_rows][: table.num_rows]
        pq.write_table(table.set_column(index, field, pa.array(filled, type=field.type)), file)

    return damage


def every_row_twice(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    pq.write_table(pa.concat_tables([table, table]), file)


def launches_twice(file: Path) -> None:
    """The same launches under other indices: their ids tell."""
    table = pq.read_table(file, partitioning=None)
    index = table.column_names.index("launch_index")
    again = pa.array([number + 100 for number in table.column("launch_index").to_pylist()])
    pq.write_table(pa.concat_tables([table, table.set_column(index, table.field(index), again)]), file)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def without_a_column(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.drop_columns(["status"]), file)


def of_another_type(file: Path) -> None:
    table = pq.read_table(file, partitioning=None)
    index = table.column_names.index("requests")
    pq.write_table(table.set_column(index, "requests", [["many"] * table.num_rows]), file)


BREAKAGES = {
    truncated: "",
    emptied: "",
    scribbled: "",
    of_a_newer_schema: "newer",
    without_a_column: "columns missing: status",
    every_row_twice: "",
    a_folder: "Is a directory",
    of_another_type: "",
}


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda b: b.__name__)
@pytest.mark.parametrize(("folder", "load"), [("runs", load_runs), ("launches", load_launches)])
def test_a_file_that_cannot_be_read_is_named_and_skipped_and_the_others_load(
    store: Store, breakage: Callable[[Path], None], folder: str, load: Callable[[Path], pd.DataFrame]
) -> None:
    filled(store)
    file = store.path / folder / "r1.parquet"
    breakage(file)
    with pytest.warns(UnreadableFileWarning) as told:
        frame = load(store.path)
    assert set(frame["run_id"]) == {"r2"}
    (message,) = [str(warning.message) for warning in told]
    assert str(file) in message
    assert BREAKAGES[breakage] in message
    assert "\n" not in message


NEW_IN_2 = {
    "runs": [
        "purpose", "replicate", "cpus", "launch_disturbed", "new_shape_max_ms", "timer_resolution_ns",
        "loop_overhead_share", "soak_s", "rss_slope_bytes_per_request_low",
        "rss_slope_bytes_per_request_high", "handles_gained", "latency_drift", "latency_drift_low",
        "latency_drift_high", "disturbance",
    ],
    "launches": [
        "serving_s", "new_shape_ns", "timer_resolution_ns", "loop_overhead_ns", "voluntary_switches",
        "minor_faults", "major_faults", "block_requests", "block_p50_ms", "block_p95_ms",
        "block_rss_bytes", "block_handles", "disturbance", "throttled_s", "thermal_throttles", "on_battery",
    ],
}  # fmt: skip


def of_schema(version: int, file: Path, *, without: list[str]) -> None:
    """A file as a harness of that schema wrote it: without some columns."""
    table = pq.read_table(file, partitioning=None).drop_columns(without)
    pq.write_table(table.replace_schema_metadata({b"schema_version": str(version).encode()}), file)


@pytest.mark.parametrize(("folder", "load"), [("runs", load_runs), ("launches", load_launches)])
@pytest.mark.filterwarnings("error")
def test_a_file_of_the_first_schema_is_read_with_nulls_for_what_it_did_not_know(
    store: Store, folder: str, load: Callable[[Path], pd.DataFrame]
) -> None:
    filled(store)
    of_schema(1, store.path / folder / "r1.parquet", without=NEW_IN_2[folder])
    frame = load(store.path)
    assert set(frame["run_id"]) == {"r1", "r2"}
    assert list(frame.columns) == [c.name for c in (RUN_COLUMNS if folder == "runs" else LAUNCH_COLUMNS)]
    old = frame[frame["run_id"] == "r1"]
    assert old[NEW_IN_2[folder]].isna().all(axis=None)
    assert old["started_at"].notna().all()
    assert old["status"].tolist() == ["complete"] * len(old)


@pytest.mark.filterwarnings("error")
def test_what_the_third_schema_measured_otherwise_is_unknown_and_the_rest_is_read(store: Store) -> None:
    store.write_run(run_row(batch_cosine_min=0.9, latency_drift=1.1))
    file = store.path / "runs" / "r1.parquet"
    new = ["repeat_max_difference", "batch_cosine_min_sorted", "index_overlap", "mteb_scores"]
    of_schema(3, file, without=new)
    (row,) = load_runs(store.path).to_dict("records")
    assert pd.isna(row["batch_cosine_min"])
    assert pd.isna(row["latency_drift"])
    assert all(pd.isna(row[name]) for name in new)
    assert row["latency_p95_ms"] == run_row()["latency_p95_ms"]


@pytest.mark.parametrize(("folder", "load"), [("runs", load_runs), ("launches", load_launches)])
@pytest.mark.filterwarnings("error")
def test_what_meant_another_thing_in_the_first_schema_is_unknown(
    store: Store, folder: str, load: Callable[[Path], pd.DataFrame]
) -> None:
    """The values stand in the file; read as what they mean today they would be wrong."""
    filled(store)
    file = store.path / folder / "r1.parquet"
    of_schema(1, file, without=NEW_IN_2[folder])
    of_second = [name for name, since in CHANGED_SINCE.items() if since == 2]
    changed = [name for name in of_second if name in pq.read_schema(file).names]
    assert changed == (of_second if folder == "runs" else ["throughput_texts_per_s"])
    stored = pq.read_table(file, partitioning=None)
    assert all(stored[name].null_count == 0 for name in changed)
    frame = load(store.path)
    assert frame.loc[frame["run_id"] == "r1", changed].isna().all(axis=None)
    assert frame.loc[frame["run_id"] == "r2", changed].notna().all(axis=None), "of this schema, it is known"
    read = [store.run_of("r1")] if folder == "runs" else store.launches_of("r1")
    assert all(row is not None and [row[name] for name in changed] == [None] * len(changed) for row in read)


@pytest.mark.parametrize("version", [2, SCHEMA_VERSION])
def test_what_has_meant_the_same_since_a_schema_is_read_from_its_files(store: Store, version: int) -> None:
    filled(store)
    of_schema(version, store.path / "runs" / "r1.parquet", without=[])
    row = store.run_of("r1")
    assert row is not None
    assert {name: row[name] for name in CHANGED_SINCE} == {name: run_row()[name] for name in CHANGED_SINCE}


@pytest.mark.filterwarnings("error")
def test_a_file_of_the_second_schema_does_not_know_what_the_third_does(store: Store) -> None:
    filled(store)
    new = {"runs": ["confirmation_at", "truncated_over_ms"], "launches": ["truncated_over_ms"]}
    for folder, names in new.items():
        of_schema(2, store.path / folder / "r1.parquet", without=names)
    row = store.run_of("r1")
    assert row is not None
    assert [row[name] for name in new["runs"]] == [None, None]
    assert [launch["truncated_over_ms"] for launch in store.launches_of("r1")] == [None] * 3
    assert str(load_runs(store.path)["confirmation_at"].dtype) == "datetime64[us, UTC]"


@pytest.mark.filterwarnings("error")
def test_a_run_of_the_first_schema_is_taken_up_with_its_launches(store: Store) -> None:
    filled(store)
    for folder, new in NEW_IN_2.items():
        of_schema(1, store.path / folder / "r1.parquet", without=new)
    row, launches = store.run_of("r1"), store.launches_of("r1")
    assert row is not None
    assert (row["purpose"], row["launch_disturbed"], row["latency_p95_ms"]) == (None, None, 12.0)
    assert [launch["serving_s"] for launch in launches] == [None] * 3
    store.write_run(row)
    store.write_launches("r1", launches)
    assert (store.run_of("r1"), store.launches_of("r1")) == (row, launches)


@pytest.mark.filterwarnings("error")
def test_whole_numbers_and_flags_that_an_older_schema_lacks_are_nullable_types_still(store: Store) -> None:
    store.write_run(run_row("r1"))
    store.write_launches("r1", [launch_row(0)])
    for folder, new in NEW_IN_2.items():
        of_schema(1, store.path / folder / "r1.parquet", without=new)
    runs, launches = load_runs(store.path), load_launches(store.path)
    for name in ("replicate", "cpus", "handles_gained"):
        assert runs[name].dtype == pd.Int64Dtype()
    assert (launches["minor_faults"].dtype, launches["on_battery"].dtype) == (
        pd.Int64Dtype(),
        pd.BooleanDtype(),
    )


@pytest.mark.parametrize(
    ("version", "lost"),
    [(SCHEMA_VERSION, "purpose"), (SCHEMA_VERSION, "run_id"), (1, "run_id"), (1, "min_span_s")],
)
def test_a_column_that_its_own_schema_had_is_missed_and_the_file_skipped(
    store: Store, version: int, lost: str
) -> None:
    filled(store)
    file = store.path / "runs" / "r1.parquet"
    without = [lost] if version == SCHEMA_VERSION else [*NEW_IN_2["runs"], lost]
    of_schema(version, file, without=without)
    with pytest.warns(UnreadableFileWarning) as told:
        runs = load_runs(store.path)
    (message,) = [str(warning.message) for warning in told]
    assert message == f"skipped {file}: columns missing: {lost}"
    assert runs["run_id"].tolist() == ["r2"]


def test_flags_of_launches_come_back_in_their_order_unknown_ones_too(store: Store) -> None:
    store.write_run(run_row(launch_disturbed=[True, None, False]))
    row = store.run_of("r1")
    assert row is not None
    assert row["launch_disturbed"] == [True, None, False]
    assert list(load_runs(store.path)["launch_disturbed"][0]) == [True, None, False]


def test_blocks_of_a_soak_come_in_list_columns(store: Store) -> None:
    blocks: dict[str, Any] = {"block_requests": [100, 90], "block_p50_ms": [2.0, 2.5], "total_ns": []}
    store.write_launches("r1", [launch_row(0, **blocks)])
    (launch,) = store.launches_of("r1")
    assert {name: launch[name] for name in blocks} == blocks


def test_a_column_that_only_another_version_knows_is_left_out(store: Store) -> None:
    filled(store)
    file = store.path / "runs" / "r1.parquet"
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.append_column("extra", [["x"]]), file)
    runs = load_runs(store.path)
    assert (len(runs), "extra" in runs.columns) == (2, False)


def test_what_a_killed_writer_left_is_swept_up_once_nobody_can_be_writing_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_fd: int) -> None:
        for file in (store.path / "runs").iterdir():
            file.with_stem(".killed").write_bytes(file.read_bytes())

    monkeypatch.setattr("os.fsync", killed)
    store.write_run(run_row())
    (left,) = (file for file in (store.path / "runs").iterdir() if file.stem == ".killed")
    aside = left.with_name(".r1.abc.unreadable")
    aside.touch()
    os.utime(aside, (0, 0))
    store.sweep_up()
    assert left.exists()
    os.utime(left, (0, 0))
    store.sweep_up()
    assert not left.exists()
    assert aside.exists()
    assert len(load_runs(store.path)) == 1


def test_what_a_killed_writer_left_half_written_disturbs_no_reader(store: Store) -> None:
    filled(store)
    for folder in ("runs", "launches"):
        (store.path / folder / ".tmpabc").write_bytes(b"PAR1 half")
    assert len(load_runs(store.path)) == 2
    assert len(load_launches(store.path)) == len(pd.read_parquet(store.path / "launches")) == 6


def disk_full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(
    store: Store, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    store.write_decision("d", "{}", "# d")
    before = files_under(store.path)
    with monkeypatch.context() as patch:
        patch.setattr(call, disk_full)
        for write in (
            lambda: store.write_run(run_row("r1", launches=99)),
            lambda: store.write_launches("r1", [launch_row(i) for i in range(4)]),
            lambda: store.write_decision("d", "{1}", "# e"),
        ):
            with pytest.raises(StorageError, match="cannot be written: No space left on device") as told:
                write()
            assert told.value.exit_code == ExitCode.STORAGE == 5
            assert str(store.path) in str(told.value)
            assert "\n" not in str(told.value)
    assert files_under(store.path) == before


def test_an_interruption_in_the_middle_of_a_write_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    filled(store)
    before = files_under(store.path)
    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write_run(run_row("r1", launches=99))
    assert files_under(store.path) == before


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 512 KiB, where the system lets us have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fills_up_costs_nothing_that_was_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = filled(Store(disk / "results"))
        before = files_under(store.path)
        ballast = disk / "ballast"
        fill_up(ballast)
        for write in (
            lambda: store.write_run(run_row("r1", launches=99)),
            lambda: store.write_launches("r3", [launch_row(i, run_id="r3") for i in range(40)]),
        ):
            with pytest.raises(StorageError, match="No space left on device"):
                write()
        assert files_under(store.path) == before
        ballast.unlink()
        store.write_run(run_row("r1", launches=99))
        assert load_runs(store.path)["launches"].tolist() == [99, 20]


def test_a_file_in_the_way_is_bad_input_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("mine", encoding="utf-8")
    for path in (file, file / "below"):
        with pytest.raises(BadInputError, match=f"results={path}: cannot be written") as told:
            Store(path)
        assert told.value.exit_code == ExitCode.BAD_INPUT
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # nothing is locked to root but what no one can write
        locked = Path("/proc/self")
        if not locked.is_dir():
            pytest.skip("no place here that root cannot write")
    with pytest.raises(BadInputError, match="cannot be written") as told:
        Store(locked / "results")
    assert "results=DIR" in str(told.value)


def test_a_store_made_of_a_relative_path_stays_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("results")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write_run(run_row())
    assert len(load_runs(tmp_path / "results")) == 1


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    filled(Store("~/results"))
    assert len(load_runs("~/results")) == len(load_runs(tmp_path / "results")) == 2


UNUSABLE = [
    ("launches", truncated, ""),
    ("launches", every_row_twice, "launch_index 0 stands 2 times"),
    ("launches", launches_twice, "launch_id r1-0000 stands 2 times"),
    (
        "launches",
        changed("p95_ms", float("nan")),
        "p95_ms is nan: no launch takes that, and one",
    ),
    (
        "launches",
        changed("p95_ms", -1.0),
        "p95_ms is -1.0: no launch takes that, and one",
    ),
    ("launches", changed("p95_ms", None), "p95_ms is null in a launch that is complete"),
    (
        "launches",
        changed("status", "banana"),
        "status 'banana' is none of complete, failed,",
    ),
    ("launches", changed("run_id", "r1", "r2"), "launches of 2 runs where a file has those of one"),
    ("runs", truncated, ""),
    ("runs", without_rows, "0 rows where a run has one"),
    ("runs", every_row_twice, "2 rows where a run has one"),
    ("runs", changed("purpose", "banana"), "purpose 'banana' is none of soak, confirm, latency, search"),
]


@pytest.mark.parametrize(("folder", "damage", "reason"), UNUSABLE)
def test_what_cannot_be_used_is_set_aside_whole_and_told_under_its_new_name(
    store: Store, folder: str, damage: Callable[[Path], None], reason: str
) -> None:
    filled(store)
    file = store.path / folder / "r1.parquet"
    damage(file)
    damaged = file.read_bytes()
    with pytest.warns(UnreadableFileWarning) as told:
        assert not (store.run_of("r1") if folder == "runs" else store.launches_of("r1"))
    (message,) = [str(warning.message) for warning in told]
    (aside,) = file.parent.glob(".r1.*.unreadable")
    assert message.startswith(f"set aside {file} as {aside.name}: {reason}")
    assert aside.read_bytes() == damaged
    store.write_run(run_row("r1"))
    store.write_launches("r1", [launch_row(0)])
    assert store.run_of("r1") is not None
    assert len(store.launches_of("r1")) == 1


@pytest.mark.parametrize("folder", ["runs", "launches"])
@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [(of_a_newer_schema, "is newer than this harness's"), (a_folder, "Is a directory")],
)
def test_what_is_not_ours_to_replace_is_refused_and_left_as_it_is(
    store: Store, folder: str, obstacle: Callable[[Path], None], reason: str
) -> None:
    filled(store)
    file = store.path / folder / "r1.parquet"
    obstacle(file)
    before = files_under(store.path)
    with pytest.raises(BadInputError, match=reason) as refused:
        store.run_of("r1") if folder == "runs" else store.launches_of("r1")
    assert str(refused.value).startswith(str(file))
    assert str(refused.value).endswith("give another results=DIR")
    assert files_under(store.path) == before


def test_launches_set_aside_before_are_not_lost_when_others_are(store: Store) -> None:
    file = store.path / "launches" / "r1.parquet"
    for content in (b"first damage", b"second damage"):
        file.write_bytes(content)
        with pytest.warns(UnreadableFileWarning):
            store.launches_of("r1")
    assert {b"first damage", b"second damage"} <= set(files_under(store.path).values())


def test_plain_pandas_still_opens_the_folder_when_launches_were_set_aside(store: Store) -> None:
    filled(store)
    truncated(store.path / "launches" / "r1.parquet")
    with pytest.warns(UnreadableFileWarning):
        store.launches_of("r1")
    assert set(pd.read_parquet(store.path / "launches")["run_id"]) == {"r2"}


def test_readers_meet_whole_files_only_while_a_writer_works(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _fd: None)  # a writer as fast as can be
    filled(store)
    done = threading.Event()

    def write() -> None:
        count = 0
        while not done.is_set():
            count += 1
            store.write_launches("r1", [launch_row(i) for i in range(count % 3 + 1)])

    writer = threading.Thread(target=write)
    writer.start()
    try:  # half a file, or the head of one and the tail of another, would warn and so fail this test
        seen = {len(load_launches(store.path)) for _ in range(100)}
    finally:
        done.set()
        writer.join()
    assert seen <= {4, 5, 6}
    assert len(seen) > 1


# --- what the machine could do


def probed(store: Store, run_id: str, gflops: float, *, cores: Any = 2, **changes: Any) -> Path:
    """A run of one launch with these probes around it, the newest so far; returns its row's file."""
    environment = {"environment": json.dumps({"cores": cores})}
    store.write_run(run_row(run_id, launches=1, **(environment | changes)))
    probes = {"capacity_before_gflops": gflops, "capacity_after_gflops": gflops + 0.5}
    store.write_launches(run_id, [launch_row(0, run_id=run_id, **probes)])
    file = store.path / "runs" / f"{run_id}.parquet"
    number = len(list(file.parent.glob("*.parquet")))
    os.utime(file, (number, number))
    return file


def before(store: Store) -> list[float]:
    return [row["capacity_before_gflops"] for row in store.probes_of("m1", 2)]


def test_probes_are_those_around_launches_on_this_machine_with_as_many_cores(store: Store) -> None:
    probed(store, "mine", 50.0)
    probed(store, "another machine", 60.0, machine_id="m2")
    probed(store, "more cores", 70.0, cores=4)
    assert store.probes_of("m1", 2) == [{"capacity_before_gflops": 50.0, "capacity_after_gflops": 50.5}]
    assert store.probes_of("m3", 2) == []
    assert store.probes_of("m1", 2, 0.5) == [], "a quota holds it to less"


def test_every_launch_of_a_run_tells_its_probes_unknown_ones_too(store: Store) -> None:
    probed(store, "r1", 50.0)
    rows = [launch_row(0, capacity_before_gflops=50.0), launch_row(1)]
    store.write_launches("r1", rows)
    assert before(store) == [50.0, None]
    assert reference_gflops(store.probes_of("m1", 2)) == 50.0


def test_the_newest_twenty_runs_are_enough(store: Store) -> None:
    for number in range(25):
        probed(store, f"r{number:02}", float(number + 1))
    assert sorted(before(store)) == [float(number + 1) for number in range(5, 25)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("folder", ["runs", "launches"])
@pytest.mark.parametrize("breakage", [truncated, emptied, scribbled, Path.unlink], ids=lambda b: b.__name__)
def test_a_run_that_cannot_be_read_tells_no_probes_and_hides_no_others(
    store: Store, breakage: Callable[[Path], None], folder: str
) -> None:
    """Without a warning: whoever needs the file is told then."""
    probed(store, "good", 50.0)
    broken = probed(store, "broken", 60.0)
    breakage(store.path / folder / broken.name)
    assert before(store) == [50.0]


@pytest.mark.parametrize("environment", ["", "{", "{}", "[]", "null", "3"])
def test_a_run_that_does_not_tell_its_cores_tells_no_probes(store: Store, environment: str) -> None:
    probed(store, "good", 50.0)
    probed(store, "odd", 60.0, environment=environment)
    assert before(store) == [50.0]


def test_launches_of_before_probes_were_stored_tell_nothing(store: Store) -> None:
    probed(store, "good", 50.0)
    probed(store, "old", 60.0)
    file = store.path / "launches" / "old.parquet"
    of_schema(1, file, without=["capacity_before_gflops", "capacity_after_gflops"])
    assert reference_gflops(store.probes_of("m1", 2)) == 50.5


def test_an_empty_results_folder_tells_nothing_of_the_machine(store: Store) -> None:
    assert store.probes_of("m1", 2) == []


# --- confirmations


@pytest.mark.filterwarnings("error")
def test_the_newest_confirmation_is_that_of_any_run_that_can_be_read(store: Store) -> None:
    assert store.newest_confirmation() == (None, set())
    for number, hours in enumerate((1, 3, None, 2)):
        at = None if hours is None else STARTED + timedelta(hours=hours)
        store.write_run(run_row(f"r{number}", confirmation_at=at))
    store.write_run(run_row("r4", confirmation_at=STARTED + timedelta(hours=3)))
    assert store.newest_confirmation() == (STARTED + timedelta(hours=3), {"r1", "r4"})
    (store.path / "runs" / "r4.parquet").unlink()
    scribbled(store.path / "runs" / "r1.parquet")
    of_schema(2, store.path / "runs" / "r2.parquet", without=["confirmation_at"])
    assert store.newest_confirmation() == (STARTED + timedelta(hours=2), {"r3"})
