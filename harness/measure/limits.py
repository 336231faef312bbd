"""What the machine can do at most, and how near a run comes to it: the roofline.

Two peaks are measured, at the threads that a run uses: float32 products of large matrices (GFLOP/s; numpy's
BLAS, 2 n³ operations each) and copying of arrays far larger than the caches (GB/s; bytes read plus bytes
written, as STREAM's Copy counts them, https://www.cs.virginia.edu/stream/). Each is the best of many
repetitions: a peak is a maximum, and whatever disturbs can only lower it. So what is kept is the highest
figure ever seen, and a probe that ran on a busy machine is mended by any later, better one.

The limit of a request is min(peak, bandwidth · operations / bytes), after Williams, Waterman and Patterson,
"Roofline", Communications of the ACM 52 (2009). Its bytes are the least that must be moved, each weight
once. Where those fit into the last-level cache, memory's speed is no limit, and the peak alone is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.artifacts.anatomy import load_graph
from harness.artifacts.hub import cache_dir
from harness.artifacts.room import available_bytes
from harness.artifacts.work import Polynomial, flops_of_a_text, work
from harness.environment import fingerprint
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.artifacts.manifest import Artifact

# The products: 2 n³ = 2.1 GFLOP each, and for so long, at least so often.
_GEMM_SIZE = 1_024
_GEMM_S = 1.0
_GEMM_REPEATS = 5
# The copies: arrays of this many bytes or four times the last-level cache, an eighth of the memory at most.
_COPY_BYTES = 256 * 2**20
_COPY_CACHES = 4
_COPY_MEMORY_SHARE = 8
_COPY_REPEATS = 5
# What a run's row holds besides what it takes from the artifact.
LIMIT_COLUMNS = ("limit_gflops", "achieved_gflops", "share_of_peak")
# What BLAS libraries take their number of threads from, when they are loaded.
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PROBE_TIMEOUT_S = 120
_CACHE_FILES = "/sys/devices/system/cpu/cpu0/cache/index*/size"


@dataclass(frozen=True)
class Peaks:
    """The highest figures seen on this machine with so many threads.

    `gflops` of float32 products, `bandwidth_gb_per_s` of copying (10⁹ bytes read and written a second).
    """

    threads: int
    gflops: float
    bandwidth_gb_per_s: float

    def limit_gflops(self, flops: float, least_bytes: float) -> float:
        """The most that a request can reach, in GFLOP/s: the roofline.

        A request of 0.26 GFLOP that must read 43 MB of weights, on a machine of 200 GFLOP/s and 20 GB/s
        with a small cache, can reach 20 · 0.26 / 0.043 = 121 GFLOP/s.

        Args:
            flops: operations of the request.
            least_bytes: what it must at least move.
        """
        held = last_level_cache_bytes()
        if least_bytes <= 0 or (held is not None and least_bytes <= held):
            return self.gflops
        return min(self.gflops, self.bandwidth_gb_per_s * flops / least_bytes)


def machine_peaks(threads: int, *, force: bool = False) -> Peaks | None:
    """The peaks at so many threads, measured (about three seconds) where they are not known.

    Args:
        threads: that compute at once.
        force: measure even so; a higher figure replaces the known one, a lower one does not.

    Returns:
        None where nothing could be measured.
    """
    if force or known_peaks(threads) is None:
        found = _probed(threads)
        if found is not None:
            _keep(found)
    return known_peaks(threads)


def known_peaks(threads: int) -> Peaks | None:
    """The peaks at so many threads if they were measured: what fewer threads reached, more can."""
    stored = _stored()
    if threads not in stored:
        return None
    fewer = [peaks for count, peaks in stored.items() if count <= threads]
    return Peaks(threads, max(p.gflops for p in fewer), max(p.bandwidth_gb_per_s for p in fewer))


def saw_gflops(threads: int, gflops: float) -> None:
    """Raise a known peak that other products have gone over; nothing where none is known."""
    known = _stored().get(threads)
    if known is not None and gflops > known.gflops:
        _keep(Peaks(threads, gflops, known.bandwidth_gb_per_s))


@dataclass(frozen=True)
class Cost:
    """What a text costs: operations as a polynomial of its tokens, and the weights' bytes, read once."""

    flops: Polynomial
    weight_bytes: int


def cost_of(artifact: Artifact) -> Cost | None:
    """The cost of an artifact's graph, read once and remembered under the artifact's hash.

    Returns:
        None where it cannot be told: no graph, an operator that is not counted, or onnx is not installed.
    """
    file = cache_dir() / "limits" / f"cost-{artifact.sha256}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_text(encoding="utf-8"))
        return Cost(Polynomial(**stored["flops"]), int(stored["weight_bytes"]))
    try:
        model = load_graph(artifact.graph)
    except HarnessError:
        return None
    flops = flops_of_a_text(model)
    if flops is None:
        return None
    cost = Cost(flops, work(model, batch_size=1, tokens=8).weight_bytes)
    _write(file, asdict(cost))
    return cost


def request_columns(
    artifact: Artifact, lengths: Sequence[Sequence[int]], static_shapes: Mapping[str, int]
) -> dict[str, Any]:
    """``flops_per_request`` and ``bytes_per_request`` of a run's requests.

    The operations of the median request, since it is set against the median time: of a mixture of lengths
    the mean one is larger by far. A batch is padded to its longest text, or to what the graph is fixed to.

    Args:
        artifact: what is run.
        lengths: of each request, the tokens of each of its texts.
        static_shapes: what axes are fixed to, as `harness.runtimes.base.SessionOptions` has it.
    """
    cost = cost_of(artifact)
    if cost is None or not lengths:
        return {"flops_per_request": None, "bytes_per_request": None}
    rows, tokens = static_shapes.get("batch_size"), static_shapes.get("sequence_length")
    flops = [(rows or len(request)) * cost.flops(tokens or max(request)) for request in lengths]
    return {"flops_per_request": float(np.median(flops)), "bytes_per_request": cost.weight_bytes}


def limit_columns(
    facts: Mapping[str, Any], infer_p50_ms: float | None, *, threads: int, clients: int
) -> dict[str, Any]:
    """``limit_gflops``, ``achieved_gflops`` and ``share_of_peak`` of a run.

    achieved = flops_per_request / infer_p50_ms; share = achieved / limit. The peak is float32's: a run at a
    lower precision can go over it. With several callers at once a request waits for the others, and its
    time says nothing about the machine: null.

    Args:
        facts: of the run, with what `request_columns` gave.
        infer_p50_ms: the median time of inference of a request.
        threads: of the run.
        clients: callers at once.
    """
    flops = facts.get("flops_per_request")
    if flops is None:
        return dict.fromkeys(LIMIT_COLUMNS)
    peaks = known_peaks(threads)
    limit = None if peaks is None else peaks.limit_gflops(flops, facts["bytes_per_request"])
    achieved = flops / (infer_p50_ms * 1e6) if infer_p50_ms and clients == 1 else None
    return {
        "limit_gflops": limit,
        "achieved_gflops": achieved,
        "share_of_peak": achieved / limit if achieved and limit else None,
    }


@cache
def last_level_cache_bytes() -> int | None:
    """Of the CPU's largest cache; None where the system does not tell."""
    sizes = []
    for file in Path("/").glob(_CACHE_FILES[1:]):
        with suppress(OSError, ValueError):
            text = file.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(text[-1], 1))
    return max(sizes, default=None)


def _file() -> Path:
    return cache_dir() / "limits" / f"{fingerprint().machine_id}.json"


def _stored() -> dict[int, Peaks]:
    """What is known of this machine, by threads; nothing where the file is missing or damaged."""
    try:
        stored = [Peaks(**peaks) for peaks in json.loads(_file().read_text(encoding="utf-8"))]
        return {p.threads: p for p in stored if min(p.gflops, p.bandwidth_gb_per_s) > 0}
    except (OSError, ValueError, TypeError):
        return {}


def _keep(seen: Peaks) -> None:
    """Remember what was seen, where it is higher than what is known."""
    stored = _stored()
    known = stored.get(seen.threads, seen)
    stored[seen.threads] = Peaks(
        seen.threads,
        max(known.gflops, seen.gflops),
        max(known.bandwidth_gb_per_s, seen.bandwidth_gb_per_s),
    )
    _write(_file(), [asdict(peaks) for peaks in stored.values()])


def _write(file: Path, content: Any) -> None:
    with suppress(OSError):  # it is found anew next time
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(content), encoding="utf-8")
        scratch.replace(file)


def _probed(threads: int) -> Peaks | None:
    """Measured in a process of its own: a BLAS library takes its threads when it is loaded."""
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.measure.limits", str(threads)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        return Peaks(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def _gemm_gflops() -> float:
    """The best rate of float32 products, by as many threads as this process's BLAS has."""
    matrix = np.ones((_GEMM_SIZE, _GEMM_SIZE), dtype=np.float32)
    product = np.empty_like(matrix)
    fastest_ns, ends, repeats = float("inf"), time.monotonic() + _GEMM_S, 0
    while repeats < _GEMM_REPEATS or time.monotonic() < ends:
        began = time.perf_counter_ns()
        np.matmul(matrix, matrix, out=product)
        fastest_ns = min(fastest_ns, time.perf_counter_ns() - began)
        repeats += 1
    return 2 * _GEMM_SIZE**3 / fastest_ns


def _copy_gb_per_s(threads: int) -> float:
    """The best rate of copying one large array to another, in so many parts at once."""
    wanted = max(_COPY_BYTES, _COPY_CACHES * (last_level_cache_bytes() or 0))
    size = min(wanted, available_bytes() // _COPY_MEMORY_SHARE) // 8
    source, target = np.ones(size), np.zeros(size)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    fastest_ns = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_COPY_REPEATS):
            began = time.perf_counter_ns()
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))  # numpy lets the others run
            fastest_ns = min(fastest_ns, time.perf_counter_ns() - began)
    return 2 * source.nbytes / fastest_ns


def main() -> None:
    """Measure with the threads that the first argument says, and print `Peaks` as JSON."""
    threads = int(sys.argv[1])
    peaks = Peaks(threads, _gemm_gflops(), _copy_gb_per_s(threads))
    sys.stdout.write(json.dumps(asdict(peaks)))


if __name__ == "__main__":
    main()
