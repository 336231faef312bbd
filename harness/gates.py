"""A gate asked of a run: passes, fails, undecided, or not measured. Missing evidence never passes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from harness import stats
from harness.compose import options_of
from harness.record import WITH_INTERVAL
from harness.schema import LAUNCH_METRICS, SOAK_METRICS, AtConfig
from harness.units import about, at_least, counted, exact_number, number_text, requests_per_s, share_text
from harness.workload import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.schema import GateConfig

GateStatus = Literal["PASS", "FAIL", "UNDECIDED", "NOT_MEASURED"]

RowT = TypeVar("RowT", bound="Mapping[str, Any]")

# Columns with one value a launch, by metric; a gate above a bound is asked of the negated values.
LAUNCH_COLUMN = {
    "latency_p95_ms": "launch_p95_ms",
    "throughput_texts_per_s": "launch_throughput_texts_per_s",
}
# The others are compared as they are: counts, and the worst of a fixed set of texts or of all launches.
_INTERVAL_METRICS = (*WITH_INTERVAL, "latency_overhead")
# Paced requests over this share of what one caller is served prove nothing: a queue so near to growing
# without end takes longer to settle than a launch lasts (about service time / (1 - load)², Kleinrock 1975).
MOST_LOAD = 0.9
# What a figure on the user's own data is measured by.
OWN_DATA = {
    "sts_spearman": "quality.sts",
    "ndcg_at_10": "quality.retrieval",
    "texts_overlap": "quality.texts",
}
# How much of it a run was measured on.
OWN_COUNTS = {"sts_spearman": "sts_pairs", "ndcg_at_10": "retrieval_queries", "texts_overlap": "texts_count"}
# What asks a user's own data what a figure on the shipped texts leaves open.
ASKED_OF_OWN_DATA = {
    **dict.fromkeys(("separation", "similar_mean", "dissimilar_mean", "separation_auc"), "sts_spearman"),
    **dict.fromkeys(("neighbour_overlap", "index_overlap"), "texts_overlap"),
}
# Why it is unknown, where that is not plain.
_UNKNOWN = {
    **{metric: f"the run was measured without {key}=" for metric, key in OWN_DATA.items()},
    "latency_overhead": "no run of the Python reference to hold it against, or it is that reference itself",
    "batch_cosine_min": "what a batch does to a vector is not known of every company that is tried",
}


def model_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run's model is called: as it is recorded, as tables show it, and one's own without its hash."""
    shown = str(row["candidate_label"]).partition(" ")[0]
    name, hashed, _ = shown.partition("+")
    own = hashed and name not in options_of("model")  # a shipped model that was changed is another one
    return (str(row["model"]), shown, *([name] if own else []))


# Stands beside a latency that is known from below alone.
STOPPED_EARLY = "stopped early"
# What the mark of `served_cell` says.
SERVED_TOLD = "≈: of the requests served until launches were stopped early; over all requests it is unknown"


@dataclass(frozen=True)
class GateResult:
    """A gate's answer on one run; `value`, `low`, `high` are in the metric's unit.

    `over` of `n` launches lie on the wrong side of the bound, for metrics that are per launch.
    `load_open`: it would pass, were it known that the queue of paced requests does not grow without end.
    `undisturbed` is the answer of the `quiet` launches alone, which were not flagged as disturbed; None where
    all were quiet, or their answer is not asked. Of a launch that was stopped early, over `stopped_over_ms`,
    no more is known than that: `least_ms` is the value with all of them at it.
    """

    gate: GateConfig
    status: GateStatus
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    over: int | None = None
    reason: str = ""
    undisturbed: GateStatus | None = None
    stopped_over_ms: float | None = None
    least_ms: float | None = None
    quiet: int | None = None
    load_open: bool = False

    @property
    def rests_on_noise(self) -> bool:
        """Whether the answer would be another one without the launches that were disturbed.

        A pass that only has too few launches without them does not count while most launches were quiet:
        disturbance makes slow.
        """
        fewer = (self.status, self.undisturbed) == ("PASS", "UNDECIDED")
        most_quiet = 2 * (self.quiet or 0) >= (self.n or 0)
        return self.undisturbed not in (None, self.status) and not (fewer and most_quiet)

    @property
    def floor_ms(self) -> float | None:
        """What the value is at least, in ms, where launches were stopped early over less; else None."""
        return _floor_ms(self.least_ms, self.value)

    @property
    def distance(self) -> float | None:
        """How far the value is on the right side of the bound; negative is the wrong side."""
        if self.value is None:
            return None
        gap = self.value - self.gate.bound
        if self.gate.op in (">", ">="):
            return gap
        return 0.0 - (gap if self.gate.op in ("<", "<=") else abs(gap))

    @property
    def distance_percent(self) -> float | None:
        """`distance` in percent of the bound; None where the bound is 0."""
        if self.distance is None or self.gate.bound == 0:
            return None
        return 100 * self.distance / abs(self.gate.bound)


def p95_floor_ms(row: Mapping[str, Any]) -> float | None:
    """What a run's P95 is at least, in ms, where launches were stopped early over less; else None.

    By how much it lies over that nobody knows.
    """
    over_ms, value_ms, listed = (row[n] for n in ("truncated_over_ms", "latency_p95_ms", "launch_p95_ms"))
    if as_number(over_ms) is None or not np.iterable(listed):
        return None
    at_most_ms = np.minimum(np.asarray(listed, dtype=np.float64), over_ms)
    return _floor_ms(float(np.median(at_most_ms)), as_number(value_ms))


def known_figure(row: Mapping[str, Any], metric: str) -> float | None:
    """A run's figure; None where it is unknown, a P95 that is known from below alone included."""
    from_below = metric == "latency_p95_ms" and p95_floor_ms(row) is not None
    return None if from_below else figure_of(row, metric)


def figure_of(row: Mapping[str, Any], metric: str) -> float | None:
    """A run's figure as gates read it: its column's, and of batch dependence the worst in any company."""
    return worst_in_batch(row) if metric == "batch_cosine_min" else as_number(row.get(metric))


def _floor_ms(least_ms: float | None, value_ms: float | None) -> float | None:
    return None if least_ms is None or value_ms is None or value_ms <= least_ms else least_ms


def stopped_cells(
    floor_ms: float | None, value: str, interval: str, *, beside: Iterable[float] = ()
) -> tuple[str, str]:
    """A latency in ms and its interval as they are written; where it is known from below alone, that.

    `beside` are the bounds that stand with it (`harness.units.told_apart`).
    """
    if floor_ms is None:
        return value, interval
    return at_least(number_text(floor_ms, beside=beside)), STOPPED_EARLY


def served_cell(row: Mapping[str, Any], name: str, shown: str) -> str:
    """A figure over all requests of a run as it is written: a guess where launches were stopped early.

    They served the first texts alone, and no more of those than it took to be over a bound.
    """
    stopped, known = (as_number(row[each]) is not None for each in ("truncated_over_ms", name))
    return about(shown) if stopped and known else shown


def ask(gate: GateConfig, run: Mapping[str, Any] | None) -> GateResult:
    """Ask a gate of a run's row (`harness.record.RUN_COLUMNS`), None where there is no such run."""
    if run is None:
        where = f"no run at {_where(gate)}"
        if gate.metric in SOAK_METRICS:
            where = "no soak run" if gate.at == AtConfig() else f"no soak run at {_where(gate)}"
        if gate.at.workload.startswith("tokens_"):
            where += "; a model that reads fewer tokens has none"
        return GateResult(gate, "NOT_MEASURED", reason=where)
    if run["status"] == "unavailable":
        return GateResult(gate, "NOT_MEASURED", reason=text_of(run["error"], "unavailable"))
    gate = _of_whose_texts(gate, run)
    if gate.metric in LAUNCH_METRICS:
        if lacks_median(gate.metric, run):
            told = f"{gate.metric} is unknown, though that of each launch is not"
            return GateResult(gate, "NOT_MEASURED", reason=told)
        result = _ask_run_launches(gate, run)
        return _within_load(result, run) if gate.metric == "latency_p95_ms" else result
    value = figure_of(run, gate.metric)
    if value is None:
        why = _no_figure(gate.metric, run)
        told = text_of(why, _UNKNOWN.get(gate.metric, f"{gate.metric} is unknown"))
        return GateResult(gate, "NOT_MEASURED", reason=told)
    if gate.metric not in _INTERVAL_METRICS:
        return GateResult(gate, "PASS" if gate.holds(value) else "FAIL", value, value, value)
    low, high = as_number(run[f"{gate.metric}_low"]), as_number(run[f"{gate.metric}_high"])
    if low is None or high is None:
        return GateResult(gate, "UNDECIDED", value, low, high, reason="no interval")
    status = _by_interval(gate, low, high)
    reason = "" if status != "UNDECIDED" else "the interval holds the bound"
    quiet = _overhead_undisturbed(gate, run) if gate.metric == "latency_overhead" else None
    flags = run.get("launch_disturbed")
    if gate.metric == "latency_drift" and np.iterable(flags) and any(flags):
        quiet = "NOT_MEASURED"  # it is of one launch
    return GateResult(gate, status, value, low, high, reason=reason, undisturbed=quiet)


def has_no_figure(metric: str, run: Mapping[str, Any]) -> bool:
    """Whether a run was measured on data of the user's own that a figure cannot be told of."""
    return (
        metric in OWN_DATA
        and figure_of(run, metric) is None
        and as_number(run[OWN_COUNTS[metric]]) is not None
    )


def _no_figure(metric: str, run: Mapping[str, Any]) -> Any:
    """Why a figure is unknown, where it is known why."""
    if metric == "latency_overhead":
        return run.get("overhead_unknown")
    if has_no_figure(metric, run):
        return (
            f"{OWN_DATA[metric]} was measured, and has no figure: a vector there is not as it must be, or "
            "all are equally near"
        )
    return None


def lacks_median(metric: str, run: Mapping[str, Any]) -> bool:
    """Whether a run's figure is unknown though there is a median of its launches': one of them is wrong."""
    listed = run[LAUNCH_COLUMN[metric]]
    if as_number(run[metric]) is not None or not np.iterable(listed):
        return False
    values = np.asarray(listed, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return values.size > 0 and math.isfinite(np.median(values))


def _by_interval(gate: GateConfig, low: float, high: float) -> GateStatus:
    holds_at = (gate.holds(low), gate.holds(high))
    return "PASS" if all(holds_at) else "UNDECIDED" if any(holds_at) else "FAIL"


def _overhead_undisturbed(gate: GateConfig, run: Mapping[str, Any]) -> GateStatus | None:
    """The answer of the quiet launches of a run and its reference; None where it is not asked.

    Quiet ones that are too few to answer are no answer, where they are the fewer; disturbance of the fewer
    only widens the interval.
    """
    if (found := run.get("overhead_quiet")) is None:
        return None
    share, low, high = found
    answer = "UNDECIDED" if low is None or high is None else _by_interval(gate, low, high)
    if answer == "UNDECIDED":
        return "NOT_MEASURED" if 2 * share < 1 else None
    return answer


def _of_whose_texts(gate: GateConfig, run: Mapping[str, Any]) -> GateConfig:
    """A gate that reads the shipped texts says so where the user's own were measured beside them."""
    if gate.metric not in ASKED_OF_OWN_DATA or all(as_number(run.get(own)) is None for own in OWN_DATA):
        return gate
    return gate.model_copy(update={"label": f"{gate.label} (shipped texts)"})


def _within_load(result: GateResult, run: Mapping[str, Any]) -> GateResult:
    """A latency gate's answer where requests are paced: a pass only where the load is known to be borne.

    What one caller is served counts at the low end of its interval.
    """
    place, alone = row_place(run), run.get("alone") or {}
    if result.status != "PASS" or place.offered_qps is None or bears_load(run):
        return result
    known, low = (as_number(alone.get(f"throughput_texts_per_s{end}")) for end in ("", "_low"))
    served = f"what one caller is served at {unpaced(place)}"
    if known is None:
        told = f"{served} is not known"
    elif low is None:
        told = f"{served} is not known from {counted(int(alone['launches']), 'launch')}, too few"
    else:
        load = place.offered_qps * place.batch_size / low if low else math.inf
        shown = share_text(load, 1, beside=(MOST_LOAD,))
        told = f"up to {shown} of what one caller is served, over {MOST_LOAD:.0%}"
    reason = f"{requests_per_s(place.offered_qps)} may be more than can be served: {told}"
    quiet: GateStatus | None = "UNDECIDED" if result.undisturbed == "PASS" else result.undisturbed
    return replace(result, status="UNDECIDED", reason=reason, undisturbed=quiet, load_open=True)


def bears_load(run: Mapping[str, Any], *, factor: float = 1.0) -> bool:
    """Whether what is paced at a run's place is known to be borne; true where nothing is paced.

    Args:
        run: as `harness.open_loop.with_alone` gives it.
        factor: what one caller is served counts so many times as it was measured.
    """
    place, alone = row_place(run), run.get("alone") or {}
    low = as_number(alone.get("throughput_texts_per_s_low"))
    return place.offered_qps is None or (low is not None and factor * low >= texts_needed_per_s(place))


def texts_needed_per_s(place: Place) -> float:
    """What one caller must be served, in texts/s, so that what is paced at a place is known to be borne."""
    assert place.offered_qps is not None
    return place.offered_qps * place.batch_size / MOST_LOAD


def unpaced(place: Place) -> Place:
    """Where one caller at full tilt is served the same texts."""
    return Place(place.workload, place.batch_size)


def _ask_run_launches(gate: GateConfig, run: Mapping[str, Any]) -> GateResult:
    """Ask a per-launch gate of a run, of whose launches some may have been stopped early, over a bound in ms.

    Texts that were not served have no throughput. A latency over a looser bound may have come down, had the
    launch gone on: any launch that is not under the tighter bound may be such a one, and the gate is answered
    where it is answered alike whether they all count as over or as under.
    """
    values, disturbed = run[LAUNCH_COLUMN[gate.metric]], run.get("launch_disturbed")
    over_ms, quiet = as_number(run.get("truncated_over_ms")), None
    by_latency = gate.metric == "latency_p95_ms"
    if over_ms is None or (by_latency and gate.bound <= over_ms):
        result = ask_launches(gate, values, disturbed=disturbed, stopped_over_ms=over_ms)
        return result if result.floor_ms is None or result.reason else replace(result, reason=STOPPED_EARLY)
    if by_latency and np.iterable(values):
        served_ms = np.asarray(values, dtype=np.float64)
        open_ended = np.isfinite(served_ms) & (served_ms >= over_ms)
        if_over, if_under = (
            ask_launches(gate, np.where(open_ended, ms, served_ms), disturbed=disturbed, explain=False)
            for ms in (math.inf, over_ms)
        )
        if if_over.status == if_under.status != "UNDECIDED":
            return replace(if_over, reason=if_under.reason)  # where a stopped launch is not one that failed
        agreed = if_over.undisturbed == if_under.undisturbed != "UNDECIDED"
        quiet = if_over.undisturbed if agreed else "NOT_MEASURED"
    reason = f"launches were stopped early over {over_ms:g} ms; measure them under this policy"
    return GateResult(gate, "NOT_MEASURED", reason=reason, undisturbed=quiet)


def left_open(gate: GateConfig, run: Mapping[str, Any], others: Sequence[RowT]) -> list[RowT]:
    """The other runs of the same thing that leave a gate open; none where it passes with all their launches.

    Args:
        gate: on the launches themselves.
        run: one that passes it.
        others: runs of the same thing at the same place.
    """
    column = LAUNCH_COLUMN[gate.metric]
    found = [
        other
        for other in others
        if other["status"] in ("complete", "interrupted")
        and np.iterable(other[column])
        and ask(gate, other).status != "PASS"
    ]
    runs: list[Mapping[str, Any]] = [run, *found]
    stopped_ms = [ms for each in runs if (ms := as_number(each["truncated_over_ms"])) is not None]
    together = {
        **run,
        column: np.concatenate([np.asarray(each[column], dtype=np.float64) for each in runs]),
        "launch_disturbed": None,
        "truncated_over_ms": min(stopped_ms, default=None),
    }
    return [] if found and ask(gate, together).status == "PASS" else found


def ask_launches(
    gate: GateConfig,
    launch_values: Sequence[float] | Any,
    *,
    disturbed: Sequence[bool | None] | Any = None,
    stopped_over_ms: float | None = None,
    explain: bool = True,
) -> GateResult:
    """Ask a per-launch gate of one value a launch; see `harness.stats.gate_verdict`.

    `disturbed` says of each launch whether it was flagged; the answer rests on all launches all the same.
    `stopped_over_ms`: latencies at or over that, which is no less than the bound, are of launches that were
    stopped early.
    `explain` False leaves out how many more launches an undecided gate would take, which is slow to tell.
    """
    assert gate.launch_quantile is not None
    quantile = gate.launch_quantile
    values = np.asarray(launch_values if np.iterable(launch_values) else [], dtype=np.float64)
    if values.size == 0:
        return GateResult(gate, "NOT_MEASURED", n=0, reason="no launch")
    sign = -1.0 if gate.op == ">" else 1.0
    if np.isnan(values).any() or (values < 0).any() or (sign < 0 and np.isinf(values).any()):
        return GateResult(gate, "NOT_MEASURED", n=int(values.size), reason="a launch's value is no number")
    signed, bound = sign * values, sign * gate.bound
    verdict = stats.gate_verdict(signed, bound, launch_quantile=quantile)
    stopped_over = math.inf if stopped_over_ms is None else stopped_over_ms
    interval = stats.launch_interval(signed, launch_quantile=quantile, stopped_over=stopped_over)
    low, high = interval if sign > 0 else (_negated(interval.high), _negated(interval.low))

    def at_quantile(of: NDArray[np.float64]) -> float:
        # The median launch's value is the run's own figure, where launches are even in number too.
        return float(np.median(of)) if quantile == 0.5 else stats.nearest_rank(of, quantile)

    middle = sign * at_quantile(signed) + 0.0  # no texts/s at all are 0, not -0
    over = int(np.count_nonzero(signed >= bound))
    flags = [bool(flag) for flag in disturbed] if np.iterable(disturbed) else []
    quiet = signed[~np.asarray(flags)] if any(flags) and len(flags) == signed.size else None
    reason = _more(gate, over, int(values.size)) if explain and verdict == "UNDECIDED" else ""
    if verdict == "FAIL" and math.isinf(middle):
        reason = f"{np.count_nonzero(np.isinf(values))} of {values.size} launches failed"
    return GateResult(
        gate,
        verdict,
        middle if math.isfinite(middle) else None,
        low,
        high,
        n=int(values.size),
        over=over,
        reason=reason,
        undisturbed=None if quiet is None else stats.gate_verdict(quiet, bound, launch_quantile=quantile),
        stopped_over_ms=stopped_over_ms,
        least_ms=None if stopped_over_ms is None else at_quantile(np.minimum(signed, stopped_over)),
        quiet=None if quiet is None else int(quiet.size),
    )


def as_number(value: Any) -> float | None:
    """A cell as a number; None for null, NaN and infinity. Booleans are 1 and 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def worst_in_batch(row: Mapping[str, Any]) -> float | None:
    """The worst cosine of a text alone to itself in any company; None where it is not known of all of them.

    A batch of one text is neither sorted nor random: a long neighbour is all the company there is.
    """
    kinds = ("", "_sorted", "_random") if row["batch_size"] > 1 else ("",)
    found = [as_number(row[f"batch_cosine_min{kind}"]) for kind in kinds]
    known = [value for value in found if value is not None]
    return min(known) if len(known) == len(found) else None


def text_of(value: Any, otherwise: str) -> str:
    """A cell as text; `otherwise` for null of any kind."""
    return value if isinstance(value, str) and value else otherwise


def plain(value: Any) -> Any:
    """A cell as JSON can hold it; every kind of null is None."""
    if value is None or str(value) in ("<NA>", "nan", "NaT"):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _more(gate: GateConfig, over: int, n: int) -> str:
    assert gate.launch_quantile is not None
    beyond = f"{over} of {n} launches are {wrong_side(gate)}"
    more = stats.launches_to_settle(over, n, launch_quantile=gate.launch_quantile)
    if more is None:
        most = stats.launches_at_most(gate.launch_quantile)
        return f"{beyond}: too near the bound to be told by {most:,} launches"
    return f"{beyond}: about {counted(more, 'more launch')} would settle it if they go as these"


def status_text(status: GateStatus) -> str:
    """A gate's answer as it stands in a sentence: ``not measured``."""
    return status.replace("_", " ").lower()


def wrong_side(gate: GateConfig) -> str:
    """Where a launch lies that misses a gate's bound."""
    return "under" if gate.op == ">" else "over"


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


def place_of(at: AtConfig) -> Place:
    """A place as a policy words it."""
    return Place(at.workload, at.batch_size, at.clients, at.arrival, at.rate)


def gate_place(gate: GateConfig) -> Place:
    """Where a gate reads."""
    return place_of(gate.at)


def run_at(at: AtConfig, rows: Sequence[RowT], *, soak: bool = False) -> RowT | None:
    """The run at a place, of `rows`; a soak run is no other run."""
    place = place_of(at)
    here = (row for row in rows if row_place(row) == place and (row["purpose"] == "soak") == soak)
    return next(here, None)


def run_for(gate: GateConfig, rows: Sequence[RowT]) -> RowT | None:
    """The run that a gate reads, of `rows`."""
    return run_at(gate.at, rows, soak=gate.metric in SOAK_METRICS)


def gate_at(gate: GateConfig, place: Place) -> GateConfig:
    """The same gate, read at another place."""
    names = ("workload", "batch_size", "clients", "arrival", "rate")
    at = dict(zip(names, place, strict=True))
    return gate.model_copy(update={"at": gate.at.model_copy(update=at)})


def row_place(row: Mapping[str, Any]) -> Place:
    """Where a run's figures stand."""
    return Place(
        str(row["workload"]),
        int(row["batch_size"]),
        int(row["clients"]),
        str(row["arrival"]),
        as_number(row["offered_qps"]),
    )


def container_cpus(row: Mapping[str, Any]) -> float | None:
    """CPUs' worth of time that a quota left a run; None where there was none, or none is known of."""
    return as_number(of_environment(row).get("container_cpus"))


def usable_cores(row: Mapping[str, Any]) -> float | None:
    """Cores that the command that measured a run could use, whatever it held launches to; None is unknown."""
    return as_number(of_environment(row).get("cores"))


def of_environment(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint a run was measured under, as `harness.environment` gives it; empty where unknown."""
    try:
        found = json.loads(row["environment"])
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def place_words(place: Place) -> dict[str, str]:
    """The words that measure at a place."""
    words = {"workload": place.workload, "batch_size": str(place.batch_size)}
    if place.workload.startswith("tokens_") and place.workload not in options_of("workload"):
        words |= {"workload": "tokens_8", "workload.tokens": place.workload.removeprefix("tokens_")}
    if place.clients != 1:
        words["workload.clients"] = str(place.clients)
    if place.offered_qps is not None:
        words |= {"workload.arrival": place.arrival, "workload.rate": exact_number(place.offered_qps)}
    return words


def _where(gate: GateConfig) -> str:
    return " ".join(f"{name}={value}" for name, value in place_words(gate_place(gate)).items())
