"""The schema: every column of the contract is declared, with its unit; a row that breaks it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from harness import record
from harness.errors import ExitCode, HarnessError
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION, Column, arrow_schema, to_table
from tests.conftest import launch_row, run_row


def names(text: str) -> list[str]:
    return text.split()


# The contract, as design.md lists it. What is added to it is welcome, what is missing breaks notebooks.
RUN_CONTRACT = names("""
run_id sweep_id started_at finished_at schema_version harness_version git_commit config_hash
model model_id revision weights precision runtime ep ep_options threads pooling dim params artifact_sha256
artifact_bytes
workload batch_size clients arrival offered_qps tokens_mean tokens_p95
status error
launches launches_failed requests latency_p50_ms latency_p95_ms latency_p99_ms latency_p95_low_ms
latency_p95_high_ms launch_p95_ms throughput_texts_per_s cold_start_s session_load_s first_request_ms
tokenize_p50_ms infer_p50_ms pool_p50_ms
peak_rss_bytes rss_slope_bytes_per_request
nodes_total ep_nodes ep_node_share ep_time_share ep_partitions
finite l2_norm_mean l2_norm_max_error similar_mean dissimilar_mean separation separation_low separation_high
separation_auc sts_spearman quality_dataset parity_cosine_min parity_cosine_mean neighbour_overlap
neighbour_overlap_low
machine_id cpu cores memory_bytes os python onnxruntime noise environment
""")
LAUNCH_CONTRACT = names("""
launch_id run_id sweep_id launch_index round started_at status error truncated pid total_ns tokenize_ns
infer_ns pool_ns scheduled_ns p50_ms p95_ms requests cold_start_s session_load_s first_request_ms
peak_rss_bytes disturbed capacity_before_gflops capacity_after_gflops other_cpu_share steal_share
involuntary_switches load_1m
""")
TABLES = {"runs": RUN_COLUMNS, "launches": LAUNCH_COLUMNS}


# Added since, which notebooks may rely on too.
RUN_ADDED = names("""
ep_provider candidate_label command purpose replicate cpus settled min_span_s evidence_span_s
launch_disturbed disturbance new_shape_max_ms timer_resolution_ns loop_overhead_share
throughput_texts_per_s_low throughput_texts_per_s_high launch_throughput_texts_per_s parity_bound
soak_s rss_slope_bytes_per_request_low rss_slope_bytes_per_request_high handles_gained
latency_drift latency_drift_low latency_drift_high
flops_per_request bytes_per_request limit_gflops achieved_gflops share_of_peak
""")
LAUNCH_ADDED = names("""
schema_version serving_s throughput_texts_per_s new_shape_ns timer_resolution_ns loop_overhead_ns
block_requests block_p50_ms block_p95_ms block_rss_bytes block_handles disturbance voluntary_switches
minor_faults major_faults throttled_s thermal_throttles on_battery
""")


def column(columns: tuple[Column, ...], name: str) -> Column:
    (found,) = (c for c in columns if c.name == name)
    return found


def test_every_column_of_the_contract_is_declared() -> None:
    assert sorted(set(RUN_CONTRACT) - {c.name for c in RUN_COLUMNS}) == []
    assert sorted(set(LAUNCH_CONTRACT) - {c.name for c in LAUNCH_COLUMNS}) == []


def test_what_was_added_to_the_contract_stays_declared() -> None:
    assert sorted(set(RUN_ADDED) - {c.name for c in RUN_COLUMNS}) == []
    assert sorted(set(LAUNCH_ADDED) - {c.name for c in LAUNCH_COLUMNS}) == []


def test_every_version_of_the_schema_has_its_line_in_the_history() -> None:
    lines = [line.strip() for line in (record.__doc__ or "").splitlines()]
    told = [int(line.partition(".")[0]) for line in lines if line[:1].isdigit()]
    assert told == list(range(1, SCHEMA_VERSION + 1))


def test_what_the_second_schema_added_can_be_null_for_the_first_had_no_value_for_it() -> None:
    new = names("""
    purpose replicate cpus launch_disturbed disturbance new_shape_max_ms timer_resolution_ns
    loop_overhead_share soak_s handles_gained latency_drift latency_drift_low latency_drift_high
    """)
    assert [name for name in new if not column(RUN_COLUMNS, name).nullable] == []
    first_had = names("launch_id run_id sweep_id launch_index round started_at schema_version status "
                      "truncated total_ns tokenize_ns infer_ns requests")  # fmt: skip
    assert [c.name for c in LAUNCH_COLUMNS if not c.nullable] == first_had


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_a_column_is_declared_once_and_says_what_it_means(columns: tuple[Column, ...]) -> None:
    declared = [c.name for c in columns]
    assert len(declared) == len(set(declared))
    assert [c.name for c in columns if len(c.meaning.split()) < 1 or c.meaning != c.meaning.strip()] == []
    assert {c.dtype.removeprefix("list:") for c in columns} <= {
        "string", "int64", "double", "bool", "timestamp",
    }  # fmt: skip


def unit_by_name(name: str) -> str | None:
    """The unit that a column's name carries; None where it carries none."""
    ends = {
        "flops_per_request": "FLOP/request",
        "_per_request": "bytes/request",
        "_texts_per_s": "texts/s",
        "_texts_per_s_low": "texts/s",
        "_texts_per_s_high": "texts/s",
        "_ms": "ms",
        "_ns": "ns",
        "_s": "s",
        "_bytes": "bytes",
        "_gflops": "GFLOP/s",
        "_at": "UTC",
    }
    return next((unit for end, unit in ends.items() if name.endswith(end)), None)


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_a_unit_in_a_name_is_the_unit_of_the_column(columns: tuple[Column, ...]) -> None:
    carried = {c.name: unit for c in columns if (unit := unit_by_name(c.name)) is not None}
    assert len(carried) > 10
    assert {c.name: c.unit for c in columns if c.name in carried} == carried
    assert [c.name for c in columns if c.unit in {"ms", "ns", "s"} and c.name not in carried] == []


def test_the_types_are_those_of_the_contract() -> None:
    assert column(RUN_COLUMNS, "launch_p95_ms").dtype == "list:double"
    assert column(RUN_COLUMNS, "launch_disturbed").dtype == "list:bool"
    for name in ("total_ns", "tokenize_ns", "infer_ns", "pool_ns", "scheduled_ns", "new_shape_ns"):
        assert column(LAUNCH_COLUMNS, name).dtype == "list:int64"
    assert column(RUN_COLUMNS, "finite").dtype == column(LAUNCH_COLUMNS, "truncated").dtype == "bool"
    assert column(RUN_COLUMNS, "threads").dtype == column(RUN_COLUMNS, "peak_rss_bytes").dtype == "int64"
    assert column(RUN_COLUMNS, "started_at").dtype == "timestamp"


@pytest.mark.parametrize(
    "name",
    names("latency_p95_ms latency_p99_ms pool_p50_ms threads git_commit finite noise launch_disturbed cpus"),
)
def test_what_may_be_unknown_can_be_null(name: str) -> None:
    assert column(RUN_COLUMNS, name).nullable
    table = to_table([run_row(**{name: None})], RUN_COLUMNS)
    assert table.column(name).to_pylist() == [None]


@pytest.mark.parametrize("name", ["run_id", "status", "machine_id", "launches", "config_hash", "batch_size"])
def test_what_is_always_known_cannot_be_null(name: str) -> None:
    with pytest.raises(HarnessError, match=f"null in columns that cannot be: {name}"):
        to_table([run_row(**{name: None})], RUN_COLUMNS)


def test_a_column_that_a_row_leaves_out_is_null() -> None:
    row = launch_row()
    assert "load_1m" not in row
    assert to_table([row], LAUNCH_COLUMNS).column("load_1m").to_pylist() == [None]


def test_a_column_that_must_be_there_is_missed_by_name() -> None:
    row = run_row()
    del row["model"], row["dim"]
    with pytest.raises(HarnessError, match="null in columns that cannot be: model, dim"):
        to_table([row], RUN_COLUMNS)


def test_a_column_that_nobody_declared_is_refused_by_name() -> None:
    with pytest.raises(HarnessError, match="no schema declares: another, latency_p90_ms"):
        to_table([run_row(), run_row(latency_p90_ms=1.0, another=2)], RUN_COLUMNS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", "one"),
        ("batch_size", 1.5),
        ("latency_p95_ms", "fast"),
        ("finite", "yes"),
        ("model", 3),
        ("launch_p95_ms", [1.0, "x"]),
        ("launch_p95_ms", 12.0),
        ("launch_disturbed", ["yes"]),
        ("handles_gained", 0.5),
        ("finished_at", "yesterday"),
        ("memory_bytes", 2**70),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(HarnessError, match="does not fit its column"):
        to_table([run_row(**{name: value})], RUN_COLUMNS)


def test_a_refused_row_is_a_defect_of_ours() -> None:
    with pytest.raises(HarnessError) as refused:
        to_table([run_row(nonsense=1)], RUN_COLUMNS)
    assert refused.value.exit_code == ExitCode.DEFECT


def test_a_row_comes_back_as_it_went_in() -> None:
    row = run_row(launch_p95_ms=[1.5, float("inf")], threads=2, finite=False)
    (back,) = to_table([row], RUN_COLUMNS).to_pylist()
    assert back == row


def test_samples_are_whole_nanoseconds() -> None:
    row = launch_row(total_ns=np.asarray([1, 2**40], dtype=np.int64).tolist())
    assert to_table([row], LAUNCH_COLUMNS).column("total_ns").to_pylist() == [[1, 2**40]]


def test_moments_are_kept_in_utc_to_the_microsecond() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    (back,) = to_table([run_row(started_at=moment)], RUN_COLUMNS).column("started_at").to_pylist()
    assert (back, back.utcoffset().total_seconds()) == (moment, 0)


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_units_meanings_and_version_travel_with_the_schema(columns: tuple[Column, ...]) -> None:
    schema = arrow_schema(columns)
    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    for declared in columns:
        field: Any = schema.field(declared.name)
        assert field.metadata == {b"unit": declared.unit.encode(), b"meaning": declared.meaning.encode()}
        assert field.nullable == declared.nullable


def test_no_row_is_an_empty_table_with_all_columns() -> None:
    table = to_table([], RUN_COLUMNS)
    assert (table.num_rows, table.column_names) == (0, [c.name for c in RUN_COLUMNS])
