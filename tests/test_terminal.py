"""Tables in 80 columns, whole; plain where nobody looks; a name never read as markup."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import report, terminal
from harness.comparison import RATIO_TOLD, Comparison
from harness.config import load_model, load_policy
from harness.decision import decide
from harness.gates import SERVED_TOLD
from harness.measure.quality import QUALITY_COLUMNS
from harness.measure.soak import BLOCKS
from harness.schema import PromptsConfig
from harness.stand_ins import use_stand_ins
from harness.store import Store, load_runs
from harness.terminal import (
    error_console,
    model_line,
    output_console,
    print_comparisons,
    print_decision,
    print_use,
)
from tests.conftest import run_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.artifacts.manifest import Artifact
    from harness.decision import Decision

GATES = load_policy("default").gates
COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-7]|9[0-7]|4[0-7]|10[0-7]|38|48)[\d;]*m")
LONG = {
    "candidate_label": "qwen3-embedding fp32-fused onnxruntime openvino 16 threads",
    "workload": "tokens_512",
    "batch_size": 4096,
    "launches": 120,
    "launches_failed": 12,
    "latency_p50_ms": 1118.25,
    "latency_p95_ms": 1171.67,
    "latency_p95_low_ms": 1160.12,
    "latency_p95_high_ms": 1234.34,
    "throughput_texts_per_s": 12345.7,
    "error": "killed by SIGKILL " * 8,
}
SOAK = {
    "purpose": "soak", "launches": 1, "requests": 123456, "launch_p95_ms": [12.0], "soak_s": 300.2,
    "rss_slope_bytes_per_request": -12.3456, "rss_slope_bytes_per_request_low": -1234.5,
    "rss_slope_bytes_per_request_high": 1209.75, "handles_gained": 3,
    "latency_drift": 1.0123, "latency_drift_low": 0.98765, "latency_drift_high": 1.04321,
    "peak_rss_bytes": 123_456_789, "noise": 1.0, "disturbance": "low capacity 1, other processes 1",
}  # fmt: skip
LOAD = {"workload": "mixture", "clients": 16, "arrival": "poisson", "offered_qps": 1250.0, "noise": 0.35,
        "disturbance": "heat 1, low capacity 3, other processes 12, stolen time 2"}  # fmt: skip
# Figures with many digits, as small differences have them.
FINE = {
    "separation": 0.044314,
    "separation_low": 0.011594,
    "separation_high": 0.076244,
    "separation_auc": 0.621034,
    "separation_auc_low": 0.541112,
    "separation_auc_high": 0.693711,
    "l2_norm_max_error": 5.8123e-09,
    "latency_p95_low_ms": 3.38456,
    "latency_p95_high_ms": 13.08123,
}
UNKNOWN = {
    name: None
    for name in run_row()
    if name.startswith(("latency_", "throughput_", "similar_", "dissimilar_", "separation", "parity_cosine"))
    or name in {"finite", "nodes_total", "ep_nodes", "ep_node_share", "peak_rss_bytes", "artifact_bytes"}
}


@pytest.fixture
def decision(tmp_path: Path) -> Callable[..., Decision]:
    """The decision on runs, as the commands make it."""

    def make(*rows: dict[str, Any]) -> Decision:
        store = Store(tmp_path / "results")
        for row in rows:
            store.write_run(row)
        return decide(load_runs(store.path))

    return make


def shown(print_it: Callable[[Console], None], **console: Any) -> str:
    file = io.StringIO()
    print_it(Console(**{"file": file, "width": 80} | console))
    return file.getvalue()


def print_run(console: Console, row: dict[str, Any]) -> None:
    terminal.print_run(console, row, GATES)


def print_runs(console: Console, rows: list[dict[str, Any]]) -> None:
    terminal.print_runs(console, rows, GATES, ())


def table_lines(text: str) -> list[str]:
    """All lines but sentences, which are not broken where they are read by a program."""
    return [line for line in text.splitlines() if not line.startswith("·")]


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


RUNS = {
    "measured": run_row(),
    "failed": run_row("r2", status="failed", launches_failed=3, launches=3, error="no memory"),
    "interrupted": run_row("r3", status="interrupted", launches=2),
    "unavailable": run_row(
        "r4", status="unavailable", launches=0, launch_p95_ms=[], error="ep=x: none", **UNKNOWN
    ),
    "long": run_row("r5", **LONG),
    "soak": run_row("r6", **SOAK),
    "busy": run_row("r7", **LONG | LOAD),
}


@pytest.mark.parametrize("row", RUNS.values(), ids=RUNS)
def test_a_run_fits_in_80_columns(row: dict[str, Any]) -> None:
    text = shown(lambda console: print_run(console, row))
    assert widest(text) <= 80
    assert "…" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "13.00 ms  over all requests"),
        ({"latency_p99_ms": None}, "? ms  takes 1,000 requests that were served"),
        ({"latency_p99_ms": None, "truncated_over_ms": 30.0}, "? ms  launches were stopped early"),
    ],
)
def test_a_p99_that_is_unknown_says_why(changes: dict[str, Any], told: str) -> None:
    assert told in shown(lambda console: print_run(console, run_row(**changes)))


def test_a_name_breaks_no_line(decision: Callable[..., Decision]) -> None:
    row = run_row(candidate_label="line\nbreak\ttab fp32 cpu", model="line\nbreak\ttab")
    made = decision(row)
    for tell in (
        lambda console: print_run(console, row),
        lambda console: print_runs(console, [row]),
        lambda console: print_decision(console, made, details=True),
    ):
        text = shown(tell)
        assert r"line\nbreak\ttab" in text
        assert not re.search(r"line\s|^break", text, re.MULTILINE)


def test_how_long_launches_spread_is_no_time_where_it_is_unknown() -> None:
    text = shown(lambda console: print_run(console, run_row(evidence_span_s=None)))
    assert re.search(r"evidence\W+\?", text)


def test_a_run_shows_its_figures() -> None:
    text = shown(lambda console: print_run(console, run_row()))
    for figure in (
        "8.00 ms",
        "12.00 ms",
        "13.00 ms",
        "300 texts/s",
        "20 launches, 2000 requests",
        "10 of 10",
    ):
        assert figure in text
    assert re.search(r"separation +0\.700 +AUC 0\.9950", text)


def test_a_run_shows_what_its_batch_does_to_a_vector() -> None:
    row = run_row(batch_cosine_min=0.984321, repeat_max_difference=0.0)
    text = shown(lambda console: print_run(console, row))
    assert re.search(r"cosine in a batch +0\.984321 +worst of 4 texts, beside a long one", text)
    assert re.search(r"cosine to fp32 +1\.000000 +worst; top-10 overlap 1\.000 \(0\.99–1\.00\)", text)
    assert re.search(r"same batch twice +bit-equal", text)
    assert "sorted" not in text, "a batch of one text is neither sorted nor random"
    row |= {
        "batch_cosine_min_sorted": 0.998,
        "batch_cosine_min_random": 0.991,
        "repeat_max_difference": 1.2e-7,
    }
    row |= {"index_overlap": 0.952, "index_overlap_low": 0.93, "index_overlap_high": 0.97}
    text = shown(lambda console: print_run(console, row))
    assert re.search(r"in sorted batches +0\.998000 +worst of 8 texts, to itself alone", text)
    assert re.search(r"in random batches +0\.991000", text)
    assert re.search(r"same batch twice +1\.2e-07", text)
    assert re.search(r"overlap, fp32 index +0\.952 +top-10, as queries \(0\.93–0\.97\)", text)
    assert widest(text) <= 80


def test_a_run_of_random_weights_shows_no_quality_and_says_why() -> None:
    row = run_row(weights="random", batch_cosine_min=None, **dict.fromkeys(QUALITY_COLUMNS))
    text = shown(lambda console: print_run(console, row))
    assert re.search(r"quality +none +random weights: latency, memory and placement\s+alone", text)
    for name in ("separation", "cosine", "L2 norm"):
        assert name not in text
    assert widest(text) <= 80


def test_a_figure_that_is_unknown_is_a_question_mark_and_never_none_nan_or_nought() -> None:
    text = shown(lambda console: print_run(console, run_row(**UNKNOWN)))
    assert "None" not in text
    assert "nan" not in text
    for name in ("P50 latency", "P95 latency", "throughput", "peak memory", "separation", "nodes on the EP"):
        (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
        assert "?" in line


def test_the_runs_of_a_sweep_fit_in_80_columns_and_nothing_is_cut() -> None:
    text = shown(lambda console: print_runs(console, list(RUNS.values())))
    assert max(map(len, table_lines(text))) <= 80
    for word in ("batch", "P50 ms", "P95 ms", "interval", "texts/s", "4096", "1160–1234"):
        assert word in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "failed", "launches_failed": 3}, "failed"),
        ({"status": "timeout", "launches_failed": 3}, "timeout"),
        ({"status": "interrupted"}, "interrupted"),
        ({"launches_failed": 1}, "1 failed"),
        (LONG, "12 failed"),
    ],
)
def test_a_run_that_is_not_clean_says_so_in_its_line(changes: dict[str, Any], said: str) -> None:
    row = run_row() | changes
    lines = shown(lambda console: print_runs(console, [row])).splitlines()
    assert sum(f"  {said} " in line for line in lines) == 1


def test_a_sweep_of_plain_runs_shows_each_whole() -> None:
    rows = [
        run_row(f"r{size}", batch_size=size, candidate_label="minilm fp32 fake cpu", workload="tokens_128")
        for size in (1, 8, 64)
    ]
    text = shown(lambda console: print_runs(console, rows))
    for size in (1, 8, 64):
        assert re.search(rf"tokens_128 +{size} +20 +8\.00 +12\.0 +12\.0–12\.0 +█+ +300", text)


def test_runs_that_are_not_possible_here_are_one_line_for_each_reason() -> None:
    absent = {"status": "unavailable", "error": "ep=coreml: not in this build", "launches": 0}
    rows = [run_row("r0")]
    rows += [run_row(name, candidate_label=f"{name} fp32 coreml", **absent) for name in ("minilm", "e5")]
    text = shown(lambda console: print_runs(console, rows))
    told = "· not possible here: minilm fp32 coreml, e5 fp32 coreml: ep=coreml: not in this build"
    assert told in text.splitlines()
    assert not any("coreml" in line for line in table_lines(text))
    assert "runs" not in shown(lambda console: print_runs(console, rows[1:])).split()


def test_replicates_of_one_run_are_told_apart() -> None:
    text = shown(lambda console: print_runs(console, [run_row(f"r{n}", replicate=n) for n in (1, 2)]))
    assert "default, #1" in text
    assert "default, #2" in text


def test_a_sweep_shows_each_candidate_s_quality_once_for_each_batch_size() -> None:
    scored = {"sts_pairs": 1500, "sts_spearman": 86.553}
    company = {"batch_cosine_min": 0.99, "batch_cosine_min_sorted": 0.995, "batch_cosine_min_random": 0.98766}
    rows = [
        run_row("1", separation=0.54321, separation_auc=0.98765, batch_cosine_min=0.99994, **scored),
        run_row("2", separation=0.54321, separation_auc=0.98765, batch_cosine_min=0.99994, **scored)
        | {"workload": "tokens_128"},
        run_row("3", batch_size=32, separation=0.51, **scored, **company),
        run_row("4", model="e5", candidate_label="e5 twin", **UNKNOWN),
    ]
    text = shown(lambda console: print_runs(console, rows), width=80)
    quality = text[text.index("quality\n") :]
    lines = [line.split() for line in quality.splitlines() if line.startswith((" 1 ", " 32 "))]
    assert [line[0] for line in lines] == ["1", "32"]
    assert lines[0] == ["1", "0.9877", "0.543", "0.65–0.75", "1.000", "0.99–1.00", "0.9999", "86.55"]
    assert lines[1][-2:] == ["0.9877", "86.55"], "the worst of all company"
    assert "STS: Spearman, 1500 pairs" in quality
    assert "in batch: worst cosine to itself alone, of 4 beside a long text, 8 in batches" in quality
    assert "e5 twin" not in quality, "nobody knows its quality"
    assert widest(quality.partition("·")[0]) <= 80
    text = shown(lambda console: print_runs(console, [run_row("1")]), width=80)
    assert "STS" not in text[text.index("quality\n") :]


def test_a_sweep_tells_memory_and_how_near_the_limit_each_run_came() -> None:
    row = run_row(peak_rss_bytes=200 * 2**20, artifact_bytes=86 * 2**20)
    row |= {"achieved_gflops": 77.4, "share_of_peak": 0.56}
    text = shown(lambda console: print_runs(console, [row, run_row("r2", share_of_peak=None)]))
    assert re.search(r"default +1 +200\.0 MiB +86\.0 MiB +77 +56% +r1 *\n", text)
    assert re.search(r"default +1 .* \? +\? +r2 *\n", text)


def test_whoever_was_measured_and_not_picked_is_told_with_the_reason(
    decision: Callable[..., Decision],
) -> None:
    twin = {"weights": "random", "model": "e5", "candidate_label": "e5 (random weights) fp32 cpu"}
    made = decision(run_row(), run_row("r2", **twin))
    assert made.chosen == "minilm fp32 cpu"
    text = shown(lambda console: print_decision(console, made, details=False))
    (line,) = [line for line in text.splitlines() if line.startswith("· not picked: ")]
    assert line.startswith("· not picked: e5 (random weights) fp32 cpu: INCONCLUSIVE, weights are random")
    assert (
        line.removeprefix("· ").replace("not picked: ", "- Not picked: ") in made.to_markdown().splitlines()
    )


def test_the_error_of_a_run_is_told_below_with_its_name() -> None:
    text = shown(lambda console: print_runs(console, [run_row(launches_failed=1, error="killed by SIGKILL")]))
    assert "minilm fp32 cpu, default, batch 1: killed by SIGKILL" in text.splitlines()


@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{"p95_ms": 2.02}, {"p95_ms": 25.0}, {"p95_ms": 1234.5}, FINE],
    ids=["fast", "near", "slow", "fine"],
)
def test_a_decision_fits_in_80_columns_and_nothing_is_cut(
    decision: Callable[..., Decision], changes: dict[str, Any], details: bool
) -> None:
    made = decision(run_row(**changes), run_row("r2", batch_size=32, **changes))
    text = shown(lambda console: print_decision(console, made, details=details))
    assert max(map(len, table_lines(text))) <= 80
    gates = made.candidates[0].gates
    result = re.compile(r" (pass|fail|undecided|not measured)( \d+/\d+)? *$")
    first = next(i for i, line in enumerate(table_lines(text)) if line.strip() == "must")
    lines = table_lines(text)[first : first + len(gates) + len({g.gate.tier for g in gates})]
    tiers = [line.strip() for line in lines if not result.search(line)]
    assert tiers == ["must", "should", "nice"], "no row takes two lines"
    assert "…" not in "".join(table_lines(text))


@pytest.mark.parametrize("launches", [3, 20])
def test_how_many_launches_lie_over_the_bound_is_always_readable(
    decision: Callable[..., Decision], launches: int
) -> None:
    values = [2.0 + n / 1000 for n in range(launches)]
    made = decision(run_row(launch_p95_ms=values, launches=launches, **FINE))
    text = shown(lambda console: print_decision(console, made, details=True))
    assert len(re.findall(rf" 0/{launches}\b", text)) == 3


def test_on_a_terminal_of_80_columns_sentences_are_wrapped_too(decision: Callable[..., Decision]) -> None:
    made = decision(run_row(p95_ms=40.0))
    console = {"force_terminal": True, "no_color": True}
    text = shown(lambda console: print_decision(console, made, details=True), **console)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "NO_GO" in plain
    assert widest(plain) <= 80


def test_off_a_terminal_a_sentence_is_one_line_whatever_its_length(decision: Callable[..., Decision]) -> None:
    made = decision(run_row(p95_ms=40.0))
    lines = shown(lambda console: print_decision(console, made, details=True)).splitlines()
    for reason in (*made.reasons, f"fallback: {made.fallback}", f"next: {made.next_steps[0]}"):
        assert f"· {reason}" in lines


def test_off_a_terminal_a_verdict_is_one_line_whatever_its_length(decision: Callable[..., Decision]) -> None:
    name = "a model of a long name " * 5
    made = replace(decision(run_row()), chosen=name)
    lines = shown(lambda console: print_decision(console, made, details=False)).splitlines()
    assert any(made.verdict in line and name in line and "policy" in line for line in lines)


def test_how_firm_the_pick_is_stands_below_the_reasons(decision: Callable[..., Decision]) -> None:
    made = decision(
        run_row(peak_rss_bytes=2 * 10**8), run_row("r2", threads=1, p95_ms=13.0, peak_rss_bytes=10**8)
    )
    lines = shown(lambda console: print_decision(console, made, details=False)).splitlines()
    assert len(made.firmness) == 3
    told = [f"· {line}" for line in made.firmness]
    assert [line for line in lines if line in told] == told


def test_of_many_steps_the_first_are_shown_and_the_others_counted(decision: Callable[..., Decision]) -> None:
    made = replace(decision(run_row()), next_steps=tuple(f"`measure {n}`" for n in range(40)))
    lines = shown(lambda console: print_decision(console, made, details=True)).splitlines()
    *first, rest = (line for line in lines if line.startswith("· next: "))
    assert 3 <= len(first) <= 8
    assert first == [f"· next: {step}" for step in made.next_steps[: len(first)]]
    assert rest.startswith(f"· next: {40 - len(first)} more steps")
    assert rest.endswith("python -m harness.decide format=markdown")
    assert all(step in made.to_markdown() for step in made.next_steps)


def test_a_verdict_comes_with_its_pick_its_evidence_and_its_policy(decision: Callable[..., Decision]) -> None:
    text = shown(lambda console: print_decision(console, decision(run_row()), details=False))
    assert "GO  minilm fp32 cpu  (provisional, policy default)" in text.splitlines()


def test_a_gate_that_was_not_measured_shows_no_value(decision: Callable[..., Decision]) -> None:
    nothing = {"launches": 0, "launch_p95_ms": [], "latency_p95_ms": None}
    made = decision(run_row(finite=None, status="interrupted", **nothing))
    text = shown(lambda console: print_decision(console, made, details=True))
    (line,) = [line for line in table_lines(text) if "values finite" in line]
    assert line.split("yes", 1)[1].split() == ["?", "not", "measured"]


def prints(decision: Callable[..., Decision]) -> list[Callable[[Console], None]]:
    made = decision(run_row(p95_ms=25.0))
    return [
        lambda console: print_run(console, run_row()),
        lambda console: print_runs(console, list(RUNS.values())),
        lambda console: print_decision(console, made, details=True),
    ]


def test_what_is_no_terminal_gets_no_control_codes(decision: Callable[..., Decision]) -> None:
    for print_it in prints(decision):
        assert "\x1b" not in shown(print_it)


def test_a_terminal_gets_colours_unless_it_asks_for_none(
    decision: Callable[..., Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = {"force_terminal": True, "color_system": "standard"}
    coloured = [bool(COLOUR.search(shown(print_it, **terminal))) for print_it in prints(decision)]
    assert coloured == [False, True, True]
    monkeypatch.setenv("NO_COLOR", "1")
    for print_it in prints(decision):
        assert COLOUR.search(shown(print_it, **terminal)) is None


def test_results_go_to_standard_output_and_progress_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output_console().print("result")
    error_console().print("progress")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "progress\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_no_name_in_what_is_printed_moves_a_cursor(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", written := io.StringIO())
    for name, value in {"FORCE_COLOR": "1" if terminal else "", "TERM": "xterm", "NO_COLOR": ""}.items():
        monkeypatch.setenv(name, value)
    console = output_console()
    grid = Table("model", width=30)
    grid.add_row(Text("a\x1b[2Jb", "red"))
    console.print(Text("a\x1b[2Jb"), "a\x1b[2Jb", grid, markup=False, highlight=False)
    assert "\x1b[2J" not in written.getvalue()
    assert written.getvalue().count(r"a\x1b[2Jb") == 3
    assert ("\x1b[31m" in written.getvalue()) == terminal, "its own colours stay"


def test_a_reader_who_has_gone_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        output_console().print("result")


@pytest.mark.parametrize(
    ("field", "in_run", "in_runs"),
    [
        ("candidate_label", True, True),
        ("workload", True, True),
        ("error", False, True),
        ("quality_dataset", True, False),
        ("ep_provider", True, False),
    ],
)
def test_a_name_in_brackets_stays_a_name(field: str, in_run: bool, in_runs: bool) -> None:
    row = run_row(status="failed") | {field: "[red]x[/red]"}
    run = shown(lambda console: print_run(console, row), width=200)
    runs = shown(lambda console: print_runs(console, [row]), width=200)
    assert ("[red]x[/red]" in run, "[red]x[/red]" in runs) == (in_run, in_runs)


def test_a_name_in_brackets_stays_a_name_in_a_decision(decision: Callable[..., Decision]) -> None:
    made = decision(run_row(candidate_label="[red]x[/red]", p95_ms=25.0))
    text = shown(lambda console: print_decision(console, made, details=True), width=200)
    assert made.chosen == "[red]x[/red]"
    assert text.count("[red]x[/red]") >= 3


def test_a_bracket_that_closes_nothing_is_no_error(decision: Callable[..., Decision]) -> None:
    odd = run_row(candidate_label="a [/b] c", workload="[/x]", status="failed", error="[/y]")
    assert "[/x]" in shown(lambda console: print_runs(console, [odd]), width=200)
    assert "a [/b] c" in shown(lambda console: print_run(console, odd))


# --- bars


def told_of(made: Decision) -> Callable[[Console], None]:
    """The runs that a decision read, as they come out of a data frame."""
    rows = [dict(row) for candidate in made.candidates for row in candidate.rows]
    return lambda console: terminal.print_runs(console, rows, GATES, made.candidates)


TWIN = {"weights": "random", "model": "e5", "candidate_label": "e5 (random weights) fp32 cpu"}


def test_each_p95_is_a_bar_against_the_gates_below_its_candidate_and_verdict(
    decision: Callable[..., Decision],
) -> None:
    made = decision(
        run_row(p95_ms=12.0), run_row("r2", p95_ms=12.0, batch_size=32), run_row("r3", p95_ms=25.0, **TWIN)
    )
    lines = [line.rstrip() for line in shown(told_of(made)).splitlines()]
    first = lines.index("GO  minilm fp32 cpu")
    assert sorted(re.sub(" +", " ", line) for line in lines[first + 1 : first + 3]) == [
        " default 1 20 8.00 12.0 12.0–12.0 ███▌ ┊ │ 300",
        " default 32 20 8.00 12.0 12.0–12.0 ███▌ 300",
    ]
    twin = lines.index("INCONCLUSIVE  e5 (random weights) fp32 cpu")
    assert "▒▒▒▒▒▒┊▒▒ │" in lines[twin + 1]
    assert (
        "· bar: median P95 to 40 ms, ░ interval, ┊ should <20 @50%, │ must <30 @80%, "
        "no mark: no gate is asked there, ▒ random weights"
    ) in lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "failed"}, "failed"),
        ({"launches_failed": 2}, "2 failed"),
        ({"latency_p95_ms": None, "latency_p95_low_ms": None}, "unknown"),
    ],
)
def test_what_is_no_figure_has_a_word_and_no_bar(changes: dict[str, Any], said: str) -> None:
    text = shown(lambda console: print_runs(console, [run_row() | changes]))
    assert f"  {said} " in text
    assert "█" not in text
    assert "bar:" not in text
    assert "against the gates" not in shown(lambda console: print_run(console, run_row() | changes))


def test_what_was_stopped_early_is_told_from_below() -> None:
    row = run_row(p95_ms=133.0, truncated_over_ms=30.0)
    assert re.search(r" ≥ 30 +stopped .*┊███│███▶", shown(lambda console: print_runs(console, [row])))
    assert re.search(r"P95 latency +≥ 30 ms +stopped early", shown(lambda console: print_run(console, row)))
    below = run_row(p95_ms=25.0, truncated_over_ms=30.0)
    for of in (row, below):
        told = shown(lambda console, of=of: print_runs(console, [of]))
        assert re.search(r" ≈ 8\.00 .* ≈ 300\n", told)
        assert f"· {SERVED_TOLD}\n" in told
        assert re.search(r"P50 latency +≈ 8.00 ms", shown(lambda console, of=of: print_run(console, of)))
    assert "≈" not in shown(lambda console: print_runs(console, [run_row()]))
    assert "≥" not in shown(lambda console: print_runs(console, [run_row(), below])), (
        "known whoever was stopped"
    )


def test_a_hundred_runs_of_long_names_stand_in_columns_of_one_width() -> None:
    rows = [
        run_row(f"r{i}", **{**LONG, "candidate_label": f"{'model-' * 14}{i}", "model": f"m{i}"}
                | {"launches_failed": 0, "latency_p95_ms": 0.5 * 1.1**i, "latency_p95_high_ms": None,
                   "latency_p95_low_ms": None, "workload": "default", "batch_size": 1, "error": None})
        for i in range(100)
    ]  # fmt: skip
    text = shown(lambda console: print_runs(console, rows))
    assert widest(text) <= 80
    bars = [line for line in text.splitlines() if "┊" in line and not line.startswith("·")]
    assert len(bars) == 100
    assert len({line.index("┊") for line in bars}) == 1
    runs = text.partition("quality\n")[0]
    assert re.sub(r"\s", "", runs).count("model-" * 14) == 100, "names are whole"


def test_a_run_alone_shows_its_bar_below_its_p95() -> None:
    lines = shown(lambda console: print_run(console, run_row())).splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.strip().startswith("against the gates")]
    assert "P95 latency" in lines[at - 1]
    assert re.search(r"of 40 ms +███▌  ┊   │", lines[at])
    assert "┊ should <20 @50%, │ must <30 @80%" in lines[at + 1]
    elsewhere = shown(lambda console: print_run(console, run_row(batch_size=32)))
    assert "against the gates" not in elsewhere


def test_a_terminal_without_these_characters_gets_others_as_wide(decision: Callable[..., Decision]) -> None:
    made = decision(run_row(p95_ms=12.0), run_row("r3", p95_ms=25.0, **TWIN))
    for encoding, bar in (("ascii", r"####  :   \|"), ("cp1252", r"####  :   \|"), ("cp437", "███▌  :   │")):
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding=encoding)
        use_stand_ins(file)
        console = Console(file=file, width=80)
        told_of(made)(console)
        print_run(console, run_row(**LOAD))
        print_decision(console, made, details=True)
        file.flush()
        text = raw.getvalue().decode(encoding)
        assert re.search(bar, text), encoding
        assert max(map(len, table_lines(text.replace("\n- ", "\n· ")))) <= 80


def test_a_candidate_that_is_not_possible_here_has_no_table_of_gates(
    decision: Callable[..., Decision],
) -> None:
    absent = run_row("r4", status="unavailable", launches=0, launch_p95_ms=[], error="ep=x: none", **UNKNOWN)
    made = decision(run_row(), absent | {"ep": "x", "candidate_label": "minilm fp32 x"})
    text = shown(lambda console: print_decision(console, made, details=True))
    assert "minilm fp32 cpu: gates" in text
    assert "minilm fp32 x: gates" not in text
    assert "· not possible here: minilm fp32 x: ep=x: none" in shown(told_of(made))


# --- soak runs, load, noise


def test_a_soak_run_shows_what_grows_and_drifts() -> None:
    text = shown(lambda console: print_run(console, run_row(**SOAK)))
    for name, figure in {
        "soak": r"5 min.* +123456 requests, one process",
        "memory growth": r"-12\.35 B/request +interval -1234\.50 to 1209\.75",
        "handles gained": "3 +open files and threads",
        "latency drift": r"1\.012 +last third over the middle one",
        "peak memory": r"\d+(\.\d+)? M",
        "noise": "100% +of launches disturbed low capacity 1",
    }.items():
        assert re.search(rf"^ ?{name} +({figure})", text, re.MULTILINE), (name, text)
    assert "P95 latency" not in text, "not a launch's"
    assert f"median of {BLOCKS} blocks" in text


def test_a_soak_run_of_which_nothing_is_known_shows_question_marks() -> None:
    unknown = {name: None for name in SOAK if name.startswith(("rss_", "handles", "latency_drift", "noise"))}
    text = shown(lambda console: print_run(console, run_row(**SOAK | unknown)))
    assert "None" not in text
    assert "nan" not in text
    for name in ("memory growth", "handles gained", "latency drift", "noise"):
        (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
        assert "?" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"noise": 0.35, "disturbance": "other processes 7"}, "35% +of launches disturbed other processes 7"),
        ({"noise": 0.0}, "0% +of launches disturbed"),
        ({"noise": None}, r"\? +of launches disturbed"),
    ],
)
def test_how_noisy_it_was_is_in_a_runs_figures(changes: dict[str, Any], said: str) -> None:
    text = shown(lambda console: print_run(console, run_row(**changes)))
    assert re.search(rf"^ ?noise +{said}", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload": "mixture"}, "mixture "),
        ({"workload": "mixture", "clients": 4}, "mixture ×4 "),
        ({"arrival": "poisson", "offered_qps": 5.0}, "default 5/s "),
        ({"clients": 2, "arrival": "poisson", "offered_qps": 0.5}, "default ×2 0.5/s "),
        (SOAK, "default soak "),
    ],
)
def test_the_load_stands_beside_the_workload_in_a_sweeps_table(changes: dict[str, Any], said: str) -> None:
    text = shown(lambda console: print_runs(console, [run_row(**changes)]), width=120)
    assert said in text
    narrow = shown(lambda console: print_runs(console, [run_row(**changes)]))
    words = re.sub(r"\s+", " ", narrow)
    assert all(word in words for word in said.split())
    assert max(map(len, table_lines(narrow))) <= 80


def test_the_load_stands_in_the_title_of_a_run() -> None:
    text = shown(lambda console: print_run(console, run_row(**LOAD)), width=120)
    assert "minilm fp32 cpu, mixture, batch 1, 16 clients, poisson 1250/s" in text.splitlines()[0]


NOISY: dict[str, Any] = {
    "launch_disturbed": [True, None, True],
    "disturbance": "other processes 2",
    "latency_p95_low_ms": None,
    "latency_p95_high_ms": None,
}


def test_a_run_alone_tells_what_noise_hides_unless_the_verdict_does(
    decision: Callable[..., Decision],
) -> None:
    row = run_row(workload="tokens_8", loop_overhead_share=0.02, **NOISY)
    lines = shown(lambda console: print_run(console, row)).splitlines()[-2:]
    assert lines == [
        "· warning: noise: 2 of 2 launches disturbed (other processes 2); launches are too few for an "
        "interval of P95, so no change can be seen; stop what else is running",
        "· warning: the timed loop itself is 2.0% of the median: figures this small are rough",
    ]
    row = run_row(loop_overhead_share=0.02)
    judged = decision(row).candidates
    assert "loop" in shown(lambda console: terminal.print_run(console, row, GATES))
    assert "loop" not in shown(lambda console: terminal.print_run(console, row, GATES, judged))


def test_a_sweep_marks_what_noise_limits_and_says_what_to_do() -> None:
    rows = [
        run_row("r0"),
        run_row("r1", workload="tokens_8", replicate=1, **NOISY),
        run_row("r2", workload="tokens_8", replicate=2, loop_overhead_share=0.02),
    ]
    lines = shown(lambda console: print_runs(console, rows)).splitlines()
    marked = [line for line in lines if re.search(r" \d+\* ", line)]
    assert [line.split()[:2] for line in marked] == [["tokens_8,", "#1"], ["tokens_8,", "#2"]]
    assert (
        "· *: noise: launches were disturbed of minilm fp32 cpu, tokens_8, batch 1, #1 (2 of 2); no change "
        "within a run's interval can be seen, none at all where it has no interval; stop what else is running"
    ) in lines
    assert (
        "· *: the timed loop itself is over 1% of the median of minilm fp32 cpu, tokens_8, batch 1, #2: "
        "figures this small are rough"
    ) in lines
    assert "*" not in shown(lambda console: print_runs(console, rows[:1]))


def test_a_quiet_sweep_says_how_small_a_change_can_be_seen_and_what_would_show_less() -> None:
    quiet = {"launch_disturbed": [False] * 20, "latency_p95_low_ms": 10.0}
    rows = [run_row(f"r{high}", **quiet, latency_p95_high_ms=high) for high in (11.0, 12.5)]
    told = shown(lambda console: print_runs(console, rows)).splitlines()
    said = "· noise: no launch was disturbed; a change of P95 under 10% to 25%, by run, cannot be seen; "
    assert f"{said}more launches narrow it (measure.launches=N)" in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus": 1}, "default, 1 core "),
        ({"replicate": 2, "cpus": 2}, "default, #2, 2 cores "),
        (
            {"command": "python -m harness measure.requests=200 measure.warmup_requests=5"},
            "default, 200 requests, 5 to warm up ",
        ),
    ],
)
def test_runs_of_one_candidate_at_one_place_can_be_told_apart(changes: dict[str, Any], said: str) -> None:
    rows = [run_row("plain"), run_row("told", **changes)]
    assert said in shown(lambda console: print_runs(console, rows), width=150)


def test_what_all_runs_of_a_table_share_stands_in_its_heading() -> None:
    rows = [run_row(f"r{number}", cpus=2, replicate=number) for number in (1, 2)]
    lines = shown(lambda console: print_runs(console, rows)).splitlines()
    assert lines[0] == "runs, 2 cores"
    assert [line.split("  ")[0] for line in lines if "default" in line][:2] == [
        " default, #1",
        " default, #2",
    ]


def test_what_noise_hides_is_told_with_the_gates(decision: Callable[..., Decision]) -> None:
    made = decision(
        run_row(noise=0.1, launch_disturbed=[True] * 2 + [False] * 18, disturbance="other processes 2")
    )
    lines = shown(lambda console: print_decision(console, made, details=True)).splitlines()
    (line,) = [line for line in lines if line.startswith("· warning: noise")]
    assert "2 of 20 launches disturbed (other processes 2)" in line
    assert "stop what else is running" in line


# --- comparisons


def comparison(change: str = "unchanged", **fields: Any) -> Comparison:
    figures: dict[str, Any] = {
        "label": "minilm fp32 cpu, default, batch 1", "metric": "p95_ms", "a_ms": 12.0, "b_ms": 12.1,
        "ratio": 1.008, "low": 0.991, "high": 1.021, "change": change, "reason": "",
    }  # fmt: skip
    return Comparison(**figures | fields)


LONG_LABEL = "qwen3-embedding fp32-fused openvino 16 threads, mixture, batch 4096, 16 clients, poisson 1250/s"


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("change", ["changed", "unchanged", "inconclusive"])
def test_comparisons_fit_in_80_columns_and_nothing_is_cut(change: str, paired: bool) -> None:
    long = {
        "label": LONG_LABEL,
        "a_ms": 1171.67,
        "b_ms": 12345.67,
        "ratio": 10.537,
        "low": 9.123,
        "high": 11.456,
    }
    found = [comparison(change, paired=paired), comparison(change, paired=paired, **long)]
    text = shown(lambda console: print_comparisons(console, found))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for figure in ("12.00", "12.10", "1.008", "0.991–1.021", "12345.67", "9.123–11.456", "p95"):
        assert figure in text
    assert "slower" in text if change == "changed" else text.count(change) == 2


def test_it_is_told_that_a_ratio_is_not_the_one_of_the_medians_beside_it() -> None:
    def told(**fields: Any) -> str:
        return " ".join(shown(lambda console: print_comparisons(console, [comparison(**fields)])).split())

    assert told().count(RATIO_TOLD) == 1
    assert RATIO_TOLD not in told(ratio=None, reason="launches failed")
    assert RATIO_TOLD in report.comparison([comparison()]).text.replace("&#x27;", "'")
    assert "centre" not in report.comparison([comparison(ratio=None)]).text


def test_a_comparison_within_rounds_is_marked_as_paired() -> None:
    words = [
        re.sub(r"\s+", " ", shown(lambda console, p=p: print_comparisons(console, [comparison(paired=p)])))
        for p in (True, False)
    ]
    assert "unchanged, paired" in words[0]
    assert "paired" not in words[1]


def test_a_comparison_without_figures_shows_question_marks_and_why() -> None:
    nothing = dict.fromkeys(("a_ms", "b_ms", "ratio", "low", "high"))
    found = [comparison("inconclusive", reason="launches failed or are missing", **nothing)] * 2
    text = shown(lambda console: print_comparisons(console, found))
    assert "None" not in text
    assert text.count("· launches failed or are missing") == 1
    assert "?" in text


def test_a_slower_b_is_red_and_a_faster_one_green_whatever_the_medians_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = {"force_terminal": True, "color_system": "standard"}
    slower = comparison("changed", ratio=1.0, low=1.2, high=1.4)
    faster = comparison("changed", ratio=1.0, low=0.7, high=0.8)
    red, green = (
        shown(lambda console, c=c: print_comparisons(console, [c]), **terminal) for c in (slower, faster)
    )
    assert "\x1b[1;31mslower" in red
    assert "\x1b[1;32mquicker" in green


def test_a_label_in_brackets_stays_a_label_in_a_comparison() -> None:
    odd = comparison(label="[red]x[/red] [/y]")
    assert "[red]x[/red] [/y]" in shown(lambda console: print_comparisons(console, [odd]), width=200)


def test_the_runs_of_a_pair_are_named_once_with_their_ids_whole() -> None:
    ids = {"a_run": "5a98a6d50b4201f6", "b_run": "01b4d2fac3028d48"}
    found = [comparison(metric=metric, paired=True, **ids) for metric in ("p50_ms", "p95_ms")]
    text = shown(lambda console: print_comparisons(console, found))
    assert text.count("· A is run 5a98a6d50b4201f6, B is run 01b4d2fac3028d48\n") == 1


# --- a model of the user's own


def test_what_is_known_of_a_model_of_ones_own_stands_in_a_line() -> None:
    own = load_model("e5").model_copy(
        update={
            "name": "custom+1f3a",
            "path": "my model",
            "prompts": PromptsConfig(default="", query="query: ", document=""),
        }
    )
    assert model_line(own) == (
        "my-model+1f3a is my model: mean pooling, L2-normalised, 384 dimensions, texts of at most 512 "
        "tokens, prompts query 'query: '"
    )
    bare = own.model_copy(
        update={
            "path": None,
            "id": "org/own",
            "normalize": False,
            "prompts": PromptsConfig(default="", query="", document=""),
        }
    )
    assert model_line(bare).startswith("own+1f3a is org/own: mean pooling, not normalised, ")
    assert model_line(bare).endswith(", no prompts")
    assert " is a twin of your own shape: mean" in model_line(bare.model_copy(update={"id": None}))


def test_columns_stand_closer_before_the_name_of_a_workload_breaks() -> None:
    figures = {"peak_rss_bytes": 1000.5 * 2**20, "artifact_bytes": 1000.5 * 2**20, "run_id": "a" * 16}
    rows = [run_row(workload=f"tokens_{n}", **figures) for n in (128, 512)]
    text = shown(lambda console: print_runs(console, rows))
    assert text.count(" tokens_128 ") == text.count(" tokens_512 ") == 2, "in both tables"
    assert max(map(len, table_lines(text))) <= 80


def test_how_to_use_what_was_measured_names_the_artifacts_folder_where_it_is_here(
    minilm: Artifact, decision: Callable[..., Decision]
) -> None:
    def told(**changes: Any) -> str:
        (candidate,) = decision(run_row(**changes)).candidates
        return shown(lambda console: print_use(console, candidate))

    line = told(artifact_sha256=minilm.sha256).splitlines()[-1].strip()
    assert line == f"provider = EmbeddingProvider.load({str(minilm.path)!r})"
    assert told(artifact_sha256=minilm.sha256, ep="openvino").rstrip().endswith(", ep='openvino')")
    (elsewhere,) = told(
        artifact_sha256="f" * 64, command="python -m harness model=minilm ep=cpu"
    ).splitlines()
    assert elsewhere == (
        f"· to use minilm fp32 cpu: its artifact, sha256 {'f' * 64}, is not on this machine; "
        "`python -m harness model=minilm ep=cpu` builds one here and tells how to load it"
    )
    assert told(artifact_sha256=minilm.sha256, weights="random", separation_auc=None) == ""
    assert told(artifact_sha256=minilm.sha256, p95_ms=45) == "", "not what is to be used"
