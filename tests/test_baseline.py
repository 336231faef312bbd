"""Speed-ups: right, with what can be known of their interval, and never a reason for a verdict."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from rich.console import Console

from harness import stats
from harness.baseline import against, load_reported, measured_baseline
from harness.decision import decide
from harness.errors import BadInputError
from harness.terminal import print_decision
from harness.verdict import speedup_cells
from tests.conftest import launch_row
from tests.test_decision import confirm_row, frame, launches_row, model_row, soak_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.decision_record import SpeedupRecord
    from harness.verdict import Decision

QWEN3 = load_reported()["reported_qwen3"]


def launches(run_id: str, p95s_ms: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """Launches of these P95s, with half of it as the P50."""
    return [
        launch_row(i, run_id=run_id, total_ns=[])
        | ({"status": "failed"} if math.isinf(ms) else {"p50_ms": ms / 2, "p95_ms": ms})
        | changes
        for i, ms in enumerate(p95s_ms)
    ]


def reported(p95s_ms: Sequence[float], **changes: Any) -> dict[str, SpeedupRecord]:
    """Speed-ups of MiniLM with these launches over Qwen3's reported figures, by metric."""
    runs = frame(launches_row("minilm", list(p95s_ms)))
    found = against(decide(runs), QWEN3, runs, pd.DataFrame(launches("run-minilm", p95s_ms, **changes)))
    assert found.baseline is not None
    return {speedup.metric: speedup for speedup in found.baseline.speedups}


def measured(a_ms: Sequence[float], b_ms: Sequence[float], **changes: Any) -> Decision:
    """E5 with the launches `b_ms`, and MiniLM with `a_ms` as its baseline; `changes` are of E5's launches."""
    runs = frame(launches_row("minilm", list(a_ms)), launches_row("e5", list(b_ms)))
    rows = [*launches("run-minilm", a_ms), *launches("run-e5", b_ms, **changes)]
    return against(decide(runs), measured_baseline(runs.to_dict("records")[0]), runs, pd.DataFrame(rows))


# --- reported figures


def test_the_figures_that_ship_are_the_documents_own_and_all_are_called_reported() -> None:
    found = load_reported()
    assert {b.kind for b in found.values()} == {"reported"}
    assert all(name.startswith("reported_") for name in found)
    figures = {
        (name, f.metric): (f.value, f.unit, f.batch_size) for name, b in found.items() for f in b.figures
    }
    assert figures == {
        ("reported_qwen3", "latency_p50_ms"): (118, "ms", 1),
        ("reported_qwen3", "latency_p95_ms"): (171, "ms", 1),
        ("reported_qwen3", "throughput_texts_per_s"): (25, "texts/s", 32),
        ("reported_qwen3", "separation"): (0.6286, "cosine", 1),
        ("reported_candle", "latency_p50_ms"): (13841, "ms", 1),
    }


def test_a_reported_figure_is_divided_by_what_was_measured_with_the_interval_of_its_launches() -> None:
    values = [10.0 + n / 10 for n in range(40)]
    found = reported(values)
    p95 = found["latency_p95_ms"]
    low, high = stats.launch_interval(values, alpha=0.05 / 2)
    assert low is not None
    assert high is not None
    assert (p95.baseline_ms, p95.candidate_ms) == (171, pytest.approx(11.95))
    assert p95.ratio == pytest.approx(171 / 11.95)
    assert (p95.low, p95.high) == (pytest.approx(171 / high), pytest.approx(171 / low))
    assert found["latency_p50_ms"].ratio == pytest.approx(118 / (11.95 / 2))
    assert (p95.run_id, p95.at.workload, p95.at.batch_size, p95.paired) == ("run-minilm", "default", 1, False)


def test_too_few_launches_give_a_ratio_and_no_interval() -> None:
    p50 = reported([12.0] * 3)["latency_p50_ms"]
    assert (p50.ratio, p50.low, p50.high) == (pytest.approx(118 / 6), None, None)
    assert p50.reason == "3 launches are too few for an interval"


def test_a_launch_that_failed_or_was_stopped_early_gives_no_ratio_to_a_figure() -> None:
    failed = reported([12.0] * 19 + [math.inf])
    assert {(s.ratio, s.candidate_ms, s.reason) for s in failed.values()} == {
        (None, None, "launches failed or are missing")
    }
    stopped = reported([45.0] * 20, truncated=True)
    assert {s.ratio for s in stopped.values()} == {None}
    assert all("stopped early" in s.reason for s in stopped.values())


def test_a_candidate_that_was_stopped_early_is_told_by_the_most_that_it_is_faster_by() -> None:
    cut = {"truncated": True, "truncated_over_ms": 30.0}
    found = reported([45.0] * 20, **cut)
    p50, p95 = (found[f"latency_{name}_ms"] for name in ("p50", "p95"))
    assert (p95.candidate_ms, p95.candidate_at_least_ms, p95.ratio, p95.low) == (None, 30.0, None, None)
    assert p95.high == pytest.approx(171 / 30)
    assert speedup_cells(p95)[2:] == ("171 ms", "≥ 30 ms", "≤ 5.7×", "")
    assert speedup_cells(p50)[2:] == ("118 ms", "?", "?", ""), "a median of what was served is none"
    few = reported([45.0] * 3, **cut)["latency_p95_ms"]
    assert (few.high, few.ratio_at_most) == (None, pytest.approx(171 / 30)), "of the launches there are"
    assert speedup_cells(few)[3:] == ("≥ 30 ms", "≤ 5.7×", "")
    assert {s.ratio_at_most for s in reported([12.0] * 20).values()} == {None}


def test_a_baseline_that_was_stopped_early_gives_the_least_that_a_candidate_is_faster_by() -> None:
    cut = {"truncated": True, "truncated_over_ms": 30.0}
    runs = frame(launches_row("minilm", [90.0] * 20), launches_row("e5", [3.0] * 20))
    rows = [*launches("run-minilm", [90.0] * 20, **cut), *launches("run-e5", [3.0] * 20)]
    found = against(decide(runs), measured_baseline(runs.to_dict("records")[0]), runs, pd.DataFrame(rows))
    assert found.baseline is not None
    (p95,) = (s for s in found.baseline.speedups if s.metric == "latency_p95_ms")
    assert (p95.baseline_ms, p95.ratio, p95.low, p95.high) == (None, None, pytest.approx(10), None)
    whose = "of the candidate's and of the baseline's, 0 of 20 and 20 of 20 launches were stopped early: "
    assert p95.reason.startswith(whose)
    assert p95.baseline_at_least_ms == 30.0
    assert "| ≥ 30 ms | 3 ms | ≥ 10× |  |" in found.to_markdown()


def test_a_baseline_changes_no_verdict_no_pick_no_gate_and_is_no_candidate() -> None:
    runs = frame(model_row("minilm", p95_ms=25), model_row("qwen3", p95_ms=171))
    decision = decide(runs)
    rows = [*launches("run-minilm", [25.0] * 20), *launches("run-qwen3", [171.0] * 20)]
    found = against(decision, QWEN3, runs, pd.DataFrame(rows))
    assert replace(found, baseline=None) == decision
    assert found.table.equals(decision.table)
    assert QWEN3.label not in set(found.table["candidate"])


def test_reported_is_written_wherever_a_reported_figure_is_shown() -> None:
    runs = frame(model_row("minilm"))
    found = against(decide(runs), QWEN3, runs, pd.DataFrame(launches("run-minilm", [12.0] * 20)))
    record = json.loads(found.to_json())["baseline"]
    assert (record["kind"], record["name"]) == ("reported", "reported_qwen3")
    assert "planning documents" in record["source"]
    assert record["machine"].startswith("Apple Silicon")
    page = found.to_markdown()
    told = "reported, not measured here: 118 ms median; 171 ms P95; 25 QPS, batch 32; separation 0.6286"
    assert "## Speed-up over Qwen3-Embedding-0.6B, ONNX fp16, CPU (reported)" in page.splitlines()
    assert f"- {told}" in page.splitlines()
    assert "| minilm fp32 cpu | P95 | 171 ms | 12 ms | 14.2× | 14.2–14.2 |" in page.splitlines()
    file = io.StringIO()
    print_decision(Console(file=file, width=80), found, details=False)
    lines = [line.strip() for line in file.getvalue().splitlines()]
    assert "speed-up over Qwen3-Embedding-0.6B, ONNX fp16, CPU (reported)" in lines
    assert f"· {told}" in lines
    assert any(line.split() == ["minilm", "fp32", "cpu", "P95", "171", "ms", "12", "ms", "14.2×", "14.2–14.2"]
               for line in lines)  # fmt: skip


def test_candidates_without_a_run_where_the_figure_stands_are_named() -> None:
    runs = frame(model_row("minilm"), model_row("e5", batch_size=32))
    decision = decide(runs)
    found = against(decision, QWEN3, runs, pd.DataFrame(launches("run-minilm", [12.0] * 20)))
    assert found.baseline is not None
    assert {s.candidate for s in found.baseline.speedups} == {"minilm fp32 cpu"}
    assert found.baseline.not_compared == ("e5 fp32 cpu: no run at default, batch 1",)


# --- a run of this machine


def test_a_measured_baseline_is_compared_round_by_round_where_that_is_possible() -> None:
    drift = [10.0 + 3 * n for n in range(20)]
    found = measured([4 * ms for ms in drift], drift).baseline
    assert found is not None
    assert {s.candidate for s in found.speedups} == {"e5 fp32 cpu"}, "not the baseline itself"
    for speedup in found.speedups:
        assert speedup.paired
        assert (speedup.ratio, speedup.low, speedup.high) == (pytest.approx(4),) * 3
    apart = measured([48.0] * 20, [12.0] * 20, sweep_id="s2")
    assert apart.baseline is not None
    assert not any(speedup.paired for speedup in apart.baseline.speedups)
    told = "measured apart, so how the machine changed meanwhile is part of the ratio: e5 fp32 cpu"
    assert f"- {told}" in apart.to_markdown().splitlines()
    assert "(measured)" in apart.to_markdown()
    assert "a speed-up is the median of the ratios between launches, not the ratio of" in apart.to_markdown()


def test_a_baseline_under_load_is_compared_with_runs_under_that_load() -> None:
    runs = frame(
        model_row("minilm"), confirm_row("minilm", clients=2), model_row("e5"), confirm_row("e5", clients=2)
    )
    rows = runs.set_index("run_id", drop=False).to_dict("index")
    base = rows["confirm-minilm-2"]
    made = [row for run_id in rows for row in launches(run_id, [24.0 if "minilm" in run_id else 12.0] * 20)]
    found = against(decide(runs), measured_baseline(base), runs, pd.DataFrame(made))
    assert found.baseline is not None
    assert {(s.run_id, s.at.workload, s.at.clients) for s in found.baseline.speedups} == {
        ("confirm-e5-2", "mixture", 2)
    }
    assert [s.ratio for s in found.baseline.speedups] == [pytest.approx(2)] * 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (soak_row("minilm"), "baseline=soak-minilm: a soak run"),
        (model_row("minilm", latency_p50_ms=None, latency_p95_ms=None), "no latency was measured in it"),
    ],
)
def test_a_run_that_no_latency_can_be_compared_with_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        measured_baseline(row)


# --- files of the user's own

GOOD = """
mine:
  label: our service
  source: the team's dashboard
  machine: a laptop
  conditions: production texts
  figures:
    - {metric: latency_p95_ms, unit: ms, value: 40, batch_size: 1, said: 40 ms}
"""


def test_figures_of_the_users_own_are_reported_whatever_they_call_themselves(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("  label:", "  kind: measured\n  label:"), encoding="utf-8")
    assert load_reported(file)["mine"].kind == "reported"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("unit: ms", "unit: s", "unit 's': latency_p95_ms is in ms"),
        ("latency_p95_ms", "latency_p96_ms", "did you mean .*latency_p95_ms"),
        ("value: 40", "value: -40", "greater than 0"),
        ("value: 40", "value: true", "mine.figures.0.value: Input should be a valid number"),
        ("value: 40", "value: .nan", "greater than 0|finite"),
        ("  source: the team's dashboard\n", "", "mine.source: Field required"),
        ("label: our service", "label: our service\n  colour: blue", "mine.colour"),
        (GOOD[GOOD.index("  machine") :], "", "mine.machine: Field required"),
        (
            GOOD[GOOD.index("    - {") :],
            GOOD[GOOD.index("    - {") :] * 2,
            "latency_p95_ms at batch 1 stands more",
        ),
        ("latency_p95_ms, unit: ms", "separation, unit: cosine", "nothing to compare with"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInputError, match=said) as refused:
        load_reported(file)
    assert all(problem.startswith(f"{file}: mine.") for problem in refused.value.problems)
