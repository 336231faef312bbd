"""The schema of what is stored, declared once: name, type, unit, nullable, meaning.

Checked on write and on read. Unknown is null, never 0.

History of `SCHEMA_VERSION`:

1. The first schema.
2. Concurrent callers, open loops, confirmation, soak runs and disturbance; throughput counts the time from
   the first request to the last answer.
3. Launches that were stopped early say over what; runs say which confirmation they are part of.
4. Batches sorted and random, the same batch twice, an index at fp32, mteb; a text's long neighbour in a batch
   has 256 tokens; a soak run's drift is the centre of its interval.
5. Runs say how many launches they had when the command that measured them last began.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

SCHEMA_VERSION = 5
# Columns whose meaning changed, and since when: read from an older file, they are unknown.
CHANGED_SINCE = {
    "evidence_span_s": 2,
    "throughput_texts_per_s": 2,
    "throughput_texts_per_s_low": 2,
    "throughput_texts_per_s_high": 2,
    "launch_throughput_texts_per_s": 2,
    "batch_cosine_min": 4,
    "latency_drift": 4,
}

# Of a run; a launch is complete, failed or timeout.
STATUSES = ("complete", "failed", "timeout", "interrupted", "unavailable")
# Of a run; one that was measured for several reasons carries the first of these.
PURPOSES = ("soak", "confirm", "latency", "search")


class Column(NamedTuple):
    """One column; `dtype` is a pyarrow type's name, with ``list:`` before it for a list column."""

    name: str
    dtype: str
    nullable: bool
    unit: str
    meaning: str


def _columns(table: str) -> tuple[Column, ...]:
    """Columns from lines of ``name dtype[?] unit meaning``; ``?`` is nullable, ``-`` is no unit."""
    columns = []
    for line in table.strip().splitlines():
        name, dtype, unit, meaning = line.split(maxsplit=3)
        columns.append(Column(name, dtype.rstrip("?"), dtype.endswith("?"), unit.strip("-"), meaning))
    return tuple(columns)


RUN_COLUMNS = _columns("""
run_id string - identity of the run: candidate, workload, artifact, versions, machine (and a nonce if forced)
sweep_id string - the command's set of runs
started_at timestamp UTC when the first launch started
finished_at timestamp UTC when the row was written after its newest launch, later than the attempt it replaces
schema_version int64 - of this table
harness_version string - of this package
git_commit string? - of the source tree, -dirty if changed; null in an install
config_hash string - identity without the nonce: equal for runs of the same thing
model string - short name
model_id string? - name on the hub
revision string? - commit that the files are of; null where a local folder has none
revision_pinned bool? - whether that commit was fixed in advance; null where there is none
source string? - where the files came from
weights string - trained or random
precision string - of the artifact
runtime string - what executes
ep string - execution provider, short name
ep_provider string - execution provider, ONNX Runtime's name
ep_options string - JSON
threads int64? threads one inference may use; null is the runtime's default
session_options string? - JSON: the runtime's session options that were chosen; the rest are its defaults
effective_options string? - JSON: what the loaded session says it uses; null in it where it cannot tell
pooling string - mean, cls or last
dim int64 - dimensions of a vector
params int64? - parameters of the model
artifact_sha256 string? - of the artifact's manifest
artifact_bytes int64? bytes graph and tokenizer on disk
candidate_label string - short name for tables
command string? - that measures this run
workload string - name
batch_size int64 texts in a request
clients int64 callers at once
arrival string - back_to_back or poisson
offered_qps double? requests/s of an open loop; null for a closed one
purpose string? - why it was measured: latency, confirm, search or soak
confirmation_at timestamp? UTC when the newest measure=confirm with this run began, later than any before it
replicate int64? - 1, 2, …: the same thing measured beside itself in one sweep; null or 0 where it is not
cpus int64? cores that a launch was held to; null is all
tokens_mean double? tokens of a text, mean
tokens_p95 double? tokens of a text, P95
status string - complete, failed, timeout, interrupted or unavailable
error string? - why, if not complete
settled bool - whether the gates it was measured for are settled
min_span_s double s evidence that spans less is provisional
evidence_span_s double? s from the first launch's start to the last one's, no gap over a fifth of min_span_s
launches int64 launches measured, failed ones included
launches_failed int64 launches that failed
launches_before int64? launches it had when the command that measured it last began, interruptions aside
requests int64 requests timed, over all launches
latency_p50_ms double? ms of a request: median over launches of the launch's median
latency_p95_ms double? ms of a request: median over launches of the launch's P95; null where that failed
latency_p99_ms double? ms of a request: over all requests; null under 1,000 or where launches stopped early
latency_p95_low_ms double? ms interval of latency_p95_ms
latency_p95_high_ms double? ms interval of latency_p95_ms
launch_p95_ms list:double ms P95 of each launch, +inf for a failed one
throughput_texts_per_s double? texts/s median over launches
throughput_texts_per_s_low double? texts/s interval
throughput_texts_per_s_high double? texts/s interval
launch_throughput_texts_per_s list:double? texts/s of each launch, 0 for a failed one
truncated_over_ms double? ms lowest bound over which launches were stopped early: a P95 on one is a guess
launch_disturbed list:bool? - of each launch: flagged by the rule that is blind to latency; null is unknown
new_shape_max_ms double? ms slowest first request of a shape, median over launches; never among the timed ones
timer_resolution_ns int64? ns largest over launches
loop_overhead_share double? - of latency_p50_ms: what the timed loop itself adds to a request
cold_start_s double? s from process creation to the first vector: median over launches
session_load_s double? s to load tokenizer and graph: median over launches
first_request_ms double? ms of the first request after loading: median over launches
tokenize_p50_ms double? ms median over launches of the launch's median
infer_p50_ms double? ms median over launches of the launch's median
pool_p50_ms double? ms null where pooling is in the graph
flops_per_request double? FLOP/request of the median request, padding included; onnxruntime on the CPU alone
bytes_per_request int64? bytes/request the least that a request must move: each weight once
limit_gflops double? GFLOP/s the most this machine can do of it: fp32 peak, or bandwidth, the lower one
achieved_gflops double? GFLOP/s flops_per_request / infer_p50_ms; null with several callers
share_of_peak double? - achieved_gflops / limit_gflops; under fp32 it can go over 1
peak_rss_bytes int64? bytes largest over launches
soak_s double? s of a soak run
rss_slope_bytes_per_request double? bytes/request growth of memory in a soak run, its first third left out
rss_slope_bytes_per_request_low double? bytes/request interval
rss_slope_bytes_per_request_high double? bytes/request interval
handles_gained int64? - open files and threads at the end of a soak run over those after its first third
latency_drift double? - a soak run's last third over its middle third: median of the ratios of their blocks
latency_drift_low double? - interval, as if blocks were independent
latency_drift_high double? - interval, as if blocks were independent
nodes_total int64? nodes of the graph as partitioned
ep_nodes int64? nodes on the requested execution provider
ep_node_share double? - ep_nodes / nodes_total
ep_time_share double? - share of node time on the requested execution provider, profiled apart, never timed
ep_partitions int64? - subgraphs on the requested execution provider
finite bool? - whether every vector is, also in other batches and of hostile texts (empty, emoji, …)
l2_norm_mean double? - of the quality texts
l2_norm_max_error double? - largest |norm - 1| of the quality and the hostile texts
similar_mean double? cosine mean over similar pairs
similar_mean_low double? cosine interval
similar_mean_high double? cosine interval
dissimilar_mean double? cosine mean over dissimilar pairs
dissimilar_mean_low double? cosine interval
dissimilar_mean_high double? cosine interval
separation double? cosine similar_mean - dissimilar_mean
separation_low double? cosine interval
separation_high double? cosine interval
separation_auc double? - probability that a similar pair's cosine exceeds a dissimilar pair's
separation_auc_low double? - interval
separation_auc_high double? - interval
separation_standardized double? deviations separation in pooled standard deviations of the cosines (Cohen's d)
separation_standardized_low double? deviations interval
separation_standardized_high double? deviations interval
sts_spearman double? ×100 rank correlation with human scores, on the user's file
sts_spearman_low double? ×100 interval
sts_spearman_high double? ×100 interval
sts_pairs int64? - pairs of the user's file (quality.sts)
sts_file_sha256 string? - of the user's file
ndcg_at_10 double? - normalised discounted cumulative gain, mean over queries
ndcg_at_10_low double? - interval
ndcg_at_10_high double? - interval
recall_at_10 double? - share of the relevant documents among the first 10, mean
recall_at_10_low double? - interval
recall_at_10_high double? - interval
recall_at_100 double? - share of the relevant documents among the first 100, mean
recall_at_100_low double? - interval
recall_at_100_high double? - interval
mrr_at_10 double? - one over the rank of the first relevant document, mean
mrr_at_10_low double? - interval
mrr_at_10_high double? - interval
ndcg_at_10_by_query list:double? - of each query, in ascending order of their ids
retrieval_queries int64? - judged queries of the user's folder (quality.retrieval)
retrieval_documents int64? - documents of the user's folder
retrieval_sha256 string? - of the user's folder
texts_cosine_min double? cosine to the fp32 artifact on the user's texts: the worst
texts_cosine_mean double? cosine to the fp32 artifact on the user's texts: mean
texts_cosine_mean_low double? cosine interval
texts_cosine_mean_high double? cosine interval
texts_overlap double? - share of top-10 neighbours shared with the fp32 artifact, on the user's texts
texts_overlap_low double? - interval
texts_overlap_high double? - interval
texts_index_overlap double? - the same where the run's vectors search the fp32 artifact's
texts_index_overlap_low double? - interval
texts_index_overlap_high double? - interval
texts_count int64? - distinct texts of the user's file (quality.texts)
texts_file_sha256 string? - of the user's file
mteb_scores string? - JSON: the main score of each task of quality.mteb
mteb_version string? - of the package mteb
quality_dataset string? - name and hash of the labelled pairs
parity_cosine_min double? cosine to the fp32 reference: the worst text
parity_cosine_mean double? cosine to the fp32 reference: mean
parity_cosine_mean_low double? cosine interval
parity_cosine_mean_high double? cosine interval
parity_bound double? cosine that parity_cosine_min must reach at this precision
neighbour_overlap double? - share of top-10 neighbours shared with the fp32 reference
neighbour_overlap_low double? - interval
neighbour_overlap_high double? - interval
index_overlap double? - the same where the run's vectors search the fp32 reference's
index_overlap_low double? - interval
index_overlap_high double? - interval
repeat_max_difference double? - largest difference of a number of a vector, one batch encoded twice; 0 is none
batch_cosine_min double? cosine of a text alone to itself beside one of 256 tokens: the worst of 4 texts
batch_cosine_min_sorted double? cosine alone to in batches by length: the worst of 8 texts; null at batch 1
batch_cosine_min_random double? cosine alone to in random batches: the worst of 8 texts; null at batch 1
machine_id string - hash of the hardware and of the id that the system keeps of this host
cpu string - model
cores int64 - usable
memory_bytes int64 bytes of the machine
os string - system, release, architecture
python string - version
onnxruntime string? - version and wheel
noise double? - share of launches flagged as disturbed
disturbance string? - what disturbed how many launches
environment string - the whole fingerprint, JSON
""")

LAUNCH_COLUMNS = _columns("""
launch_id string - run and index
run_id string - the run it belongs to
sweep_id string - the command that measured it
launch_index int64 - counted from 0 within the run
round int64 - of the sweep
started_at timestamp UTC when the process was created
schema_version int64 - of this table
status string - complete, failed or timeout
error string? - why, if not complete
truncated bool - stopped early: certainly over truncated_over_ms
truncated_over_ms double? ms the bound it was stopped over; null where it was not
pid int64? - of the process
total_ns list:int64 ns of each request
tokenize_ns list:int64 ns of each request
infer_ns list:int64 ns of each request
pool_ns list:int64? ns of each request; null where pooling is in the graph
scheduled_ns list:int64? ns when each request was due; null in a closed loop
p50_ms double? ms median of total_ns
p95_ms double? ms nearest-rank P95 of total_ns
requests int64 requests timed
serving_s double? s from the first request's start to the last answer
throughput_texts_per_s double? texts/s batch size × requests / serving_s
cold_start_s double? s from process creation to the first vector
session_load_s double? s to load tokenizer and graph
first_request_ms double? ms of the first request after loading
new_shape_ns list:int64? ns of the first request of each shape, all before the timed ones
timer_resolution_ns int64? ns smallest step of the clock
loop_overhead_ns double? ns that the timed loop itself adds to a request
peak_rss_bytes int64? bytes of the process
block_requests list:int64? - of a soak run: requests served in each block
block_p50_ms list:double? ms of a soak run: median of each block
block_p95_ms list:double? ms of a soak run: P95 of each block
block_rss_bytes list:int64? bytes of a soak run: resident at the end of each block
block_handles list:int64? - of a soak run: open files and threads at the end of each block
disturbed bool? - flagged by the rule that is blind to latency
disturbance string? - what it was flagged for
capacity_before_gflops double? GFLOP/s of a probe before the launch
capacity_after_gflops double? GFLOP/s of a probe after the launch
other_cpu_share double? - of the cores that it may use, used by other processes
steal_share double? - of the cores that it may use, taken by the hypervisor
involuntary_switches int64? - during the timed requests
voluntary_switches int64? - during the timed requests
minor_faults int64? - during the timed requests
major_faults int64? - during the timed requests
throttled_s double? s that the container's CPU quota stopped it for
thermal_throttles int64? - times a core slowed down for heat
on_battery bool? - whether the machine was
load_1m double? - load average when it started
""")

# Of each column of a run; empty where it has none.
RUN_UNITS = {column.name: column.unit for column in RUN_COLUMNS}
# Figures with an interval in <name>_low and <name>_high.
WITH_INTERVAL = tuple(name for name in RUN_UNITS if f"{name}_low" in RUN_UNITS)


@cache
def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The columns as an Arrow schema; units and meanings travel as field metadata."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "list:bool": pa.list_(pa.bool_()),
        "list:double": pa.list_(pa.float64()),
        "list:int64": pa.list_(pa.int64()),
    }
    fields = [
        pa.field(
            c.name,
            types[c.dtype],
            nullable=c.nullable,
            metadata={"unit": c.unit, "meaning": c.meaning},
        )
        for c in columns
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


def to_table(rows: Sequence[Mapping[str, Any]], columns: tuple[Column, ...]) -> pa.Table:
    """Rows as a checked Arrow table; a column that a row leaves out is null.

    Raises:
        HarnessError: an undeclared column, a null where none may be, or a wrong type: a defect of ours.
    """
    import pyarrow as pa

    names = {c.name for c in columns}
    required = [c.name for c in columns if not c.nullable]
    for row in rows:
        if unknown := set(row) - names:
            raise HarnessError(f"columns that no schema declares: {', '.join(sorted(unknown))}")
        if missing := [name for name in required if row.get(name) is None]:
            raise HarnessError(f"null in columns that cannot be: {', '.join(missing)}")
        for column in columns:  # Arrow would cut the fraction off
            if column.dtype == "int64" and isinstance(row.get(column.name), float):
                raise HarnessError(f"{column.name}={row[column.name]} does not fit its column: no integer")
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=arrow_schema(columns))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise HarnessError(f"a value does not fit its column: {error}") from None
