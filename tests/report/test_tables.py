"""Tables of a report: what they say is what is stored, escaped; on nothing they say what to do."""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import replace
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.artifacts.cache import folder_of
from harness.comparison import Comparison
from harness.compose import conf_dir
from harness.decision import decide
from harness.errors import BadInputError
from harness.report.tables import _with_code
from harness.store import Store, UnreadableFileWarning, load_runs
from harness.terminal import use_lines
from tests.conftest import STARTED, launch_row, run_row
from tests.test_decide import main as decide_main

if TYPE_CHECKING:
    from pathlib import Path

TABLES = (
    report.verdict, report.gates, report.runs, report.quality, report.placement, report.environment,
    report.noise, report.sweeps,
)  # fmt: skip


def stored(folder: Path, *rows: dict[str, Any]) -> Path:
    store = Store(folder)
    for row in rows:
        store.write_run(row)
        store.write_launches(row["run_id"], [launch_row(run_id=row["run_id"])])
    return folder


def test_on_an_empty_result_set_every_table_says_so(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path))
    assert data.decision is None
    for table in TABLES:
        assert '<p class="note">' in table(data).text
    command = f"python -m harness model=minilm ep=cpu results={tmp_path}"
    assert _with_code(f"Measure first: `{command}`") in report.verdict(data).text
    command += " policy=strict"
    assert f"<code>{command}</code>" in report.runs(report.read(tmp_path, policy="strict")).text


def test_the_first_screen_has_verdict_pick_and_reason(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path, run_row()))
    text = report.verdict(data).text
    assert data.decision is not None
    assert data.decision.verdict.replace("_", " ") in text
    assert (data.decision.chosen or data.decision.reasons[0]) in text


def test_the_page_tells_how_to_load_the_pick_as_the_terminal_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "<cache>"))
    row = run_row(artifact_sha256="a" * 64, candidate_label="<b> fp32 cpu")
    data = report.read(stored(tmp_path / "results", row))
    assert data.decision is not None

    def told() -> str:
        return report.verdict(data).text.partition("<h3>To use it</h3>")[2].partition("<h3>")[0]

    away = use_lines(data.decision.candidates[0])
    assert told() == f"<ul><li>{_with_code(away[0])}</li></ul>"
    assert "a" * 64 in told()
    folder_of("a" * 64).mkdir(parents=True)
    sentence, *code = use_lines(data.decision.candidates[0])
    assert str(folder_of("a" * 64)) in code[-1]
    lines = escape("\n".join(code))
    assert told() == f"<ul><li>{escape(sentence)}</li></ul><pre><code>{lines}</code></pre>"
    data = report.read(stored(tmp_path / "none", row | {"finite": False}))
    assert "To use it" not in report.verdict(data).text, "nothing was picked"


def test_rows_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    places = [("tokens_128", 1), ("tokens_32", 16), ("default", 2), ("tokens_8", 8)]
    rows = [
        run_row(f"r{batch}", workload=workload, batch_size=batch, nodes_total=10)
        for workload, batch in places
    ]
    data = report.read(stored(tmp_path, *rows))
    in_order = ["default, batch 2", "tokens_8, batch 8", "tokens_32, batch 16", "tokens_128, batch 1"]
    assert re.findall(r"<td>([^<]+, batch \d+)", report.runs(data).text) == in_order
    assert "<td>default, batch 2; 3 more places</td>" in report.placement(data).text, "with the same figures"
    batches = re.findall(r'<td class="number"[^>]*>(1|2|8|16)</td>', report.quality(data).text)
    assert batches[:: len(batches) // 4] == ["1", "2", "8", "16"]


def test_a_share_of_time_stands_with_the_place_whose_requests_it_is_of(tmp_path: Path) -> None:
    kinds = {"nodes_total": 10, "ep": "coreml", "candidate_label": "minilm fp32 coreml"}
    rows = [
        run_row("old", ep_time_share=0.2, **kinds),
        run_row("short", ep_time_share=0.3, started_at=STARTED + timedelta(hours=1), **kinds),
        run_row("long", ep_time_share=0.97, workload="tokens_512", **kinds),
    ]
    text = report.placement(report.read(stored(tmp_path, *rows))).text
    rows_told = re.findall(r"<td>([^<]+, batch 1)</td>(.*?)</tr>", text)
    told = [(place, re.findall(r"\d+%", cells)[-1]) for place, cells in rows_told]
    assert told == [("default, batch 1", "30%"), ("tokens_512, batch 1", "97%")]


def test_candidates_of_one_name_are_told_apart_wherever_they_are_named(tmp_path: Path) -> None:
    rows = [
        run_row("a", revision="one", artifact_sha256="a" * 64, separation_auc=0.989),
        run_row("b", revision="two", artifact_sha256="b" * 64, separation_auc=0.987, p95_ms=99.0),
    ]
    data = report.read(stored(tmp_path, *rows))
    names = [
        f"minilm fp32 cpu (revision={n}, artifact_sha256={c * 12})" for n, c in (("one", "a"), ("two", "b"))
    ]
    for table in (report.gates, report.runs, report.quality, report.noise):
        assert all(table(data).text.count(name) for name in names)
    assert data.decision is not None
    assert data.decision.chosen == names[0]
    assert f"{names[1]}: NO GO" in report.gates(data).text
    aucs = [re.search(rf"{re.escape(name)}.*?0\.98[79]", report.quality(data).text) for name in names]
    assert [found and found[0][-5:] for found in aucs] == ["0.989", "0.987"]


def test_what_could_not_be_measured_tells_nothing_apart(tmp_path: Path) -> None:
    absent = run_row("a", status="unavailable", launches=0, launch_p95_ms=[], artifact_sha256=None)
    text = report.runs(report.read(stored(tmp_path, absent, run_row("b")))).text
    assert "artifact_sha256" not in text


def test_runs_of_other_cores_and_replicates_are_told_apart(tmp_path: Path) -> None:
    rows = [run_row("a", replicate=1), run_row("b", replicate=2), run_row("c", cpus=1, cores=1)]
    data = report.read(stored(tmp_path, *rows, run_row("d", purpose="soak")))
    for table in (report.runs, report.noise):
        places = re.findall(r"<td>default, batch 1(.*?)</td>", table(data).text)
        assert sorted(places) == [", #1", ", #2", ", 1 core", ", soak"]


def test_an_environment_tells_every_number_of_cores_and_memory(tmp_path: Path) -> None:
    sizes = ((2, 4 * 2**30), (1, 2 * 2**30))
    rows = [run_row(f"r{cores}", cores=cores, memory_bytes=memory) for cores, memory in sizes]
    text = report.environment(report.read(stored(tmp_path, *rows))).text
    assert "<td>1, 2</td>" in text or "<td>2, 1</td>" in text
    assert "4.0 GiB" in text
    assert "2.0 GiB" in text


def test_no_number_of_cores_is_told_where_candidates_had_different_ones(tmp_path: Path) -> None:
    rows = [run_row(model, model=model, candidate_label=f"{model} fp32 cpu") for model in ("minilm", "e5")]
    stored(tmp_path, *(row | {"cores": cores} for row, cores in zip(rows, (1, 16), strict=True)))
    told = report.verdict(report.read(tmp_path)).text
    assert f"{rows[0]['cpu']}</span>" in told


def test_figures_in_the_table_are_those_of_the_parquet(tmp_path: Path) -> None:
    rows = [run_row(f"r{i}", p95_ms=10.1234567 + i) for i in range(3)]
    text = report.runs(report.read(stored(tmp_path, *rows))).text
    values = [float(value) for value in re.findall(r'data-value="([^"]+)"', text)]
    assert {10.1234567, 11.1234567, 12.1234567} <= set(values)


def test_what_comes_from_results_stays_text(tmp_path: Path) -> None:
    evil = run_row(candidate_label="<script>alert(1)</script>", model="<b>", error="</script><img src=x>")
    data = report.read(stored(tmp_path, evil), baseline="reported_qwen3")
    for table in (*TABLES, report.speedups):
        assert "script>" not in table(data).text
        assert "<img" not in table(data).text
    assert "&lt;script&gt;" in report.runs(data).text


def test_what_would_turn_the_writing_is_told_by_its_number(tmp_path: Path) -> None:
    turned = run_row(candidate_label="\u202eterces", model="\u202eterces", error="\x00\x1b[31m")
    data = report.read(stored(tmp_path, turned))
    for table in TABLES:
        assert table(data)._repr_html_().replace("\n", "").isprintable()
    assert r"\u202eterces" in report.verdict(data)._repr_html_()
    assert r"\x00\x1b[31m" in report.runs(data)._repr_html_()


@pytest.mark.parametrize("table", [report.runs, report.noise, report.quality])
def test_figures_in_words_sort_by_what_they_are(tmp_path: Path, table: Any) -> None:
    rows = [
        run_row("a", batch_size=1, evidence_span_s=4.0, latency_p95_low_ms=2.9, separation_low=0.1),
        run_row("b", batch_size=8, evidence_span_s=200.0, latency_p95_low_ms=2.78, separation_low=0.2),
        run_row("c", batch_size=9, evidence_span_s=None, latency_p95_low_ms=None, separation_low=None),
    ]
    text = table(report.read(stored(tmp_path, *rows))).text
    headings = re.findall(r"<th[^>]*>(.*?)</th>", text)
    of = {"evidence": (4.0, 200.0, None), "interval": (2.9, 2.78, None)}
    of["interval"] = of["interval"] if table is report.runs else (0.1, 0.2, None)
    for heading in {"evidence", "interval"} & set(headings):
        at = len(headings) - 1 - headings[::-1].index(heading)
        cells = [
            re.findall(r"<td[^>]*>", row)[at]
            for row in re.findall(r"<tr>(.*?)</tr>", text.partition("<tbody>")[2])
        ]
        asked = ["" if value is None else repr(value) for value in of[heading]]
        assert [re.findall(r'data-value="(.*?)"', cell) for cell in cells] == [[value] for value in asked]


def test_a_p95_that_is_known_from_below_sorts_by_that(tmp_path: Path) -> None:
    text = report.runs(report.read(stored(tmp_path, run_row(p95_ms=45.0, truncated_over_ms=30.0)))).text
    assert 'data-value="30.0">≥ 30</td>' in text
    assert 'data-value="">stopped early</td>' in text


def test_every_gate_of_every_candidate_is_told_with_its_distance(tmp_path: Path) -> None:
    data = report.read(
        stored(tmp_path, run_row("a"), run_row("b", model="e5", candidate_label="e5 fp32 cpu"))
    )
    text = report.gates(data).text
    assert data.decision is not None
    assert text.count("<table") == len(data.decision.candidates) == 2
    assert text.count("<details>") == 1
    assert "must" in text
    assert "+18 ms (+60%)" in text, "30 ms less 12 ms"


def test_what_is_not_possible_here_stands_in_a_line_for_each_reason(tmp_path: Path) -> None:
    lacking = {
        "status": "unavailable",
        "launches": 0,
        "launch_p95_ms": [],
        "error": "ep=coreml: not in this build",
    }
    names = ("minilm fp32 coreml", "e5 fp32 coreml")
    rows = [run_row(n, ep="coreml", model_id=n, candidate_label=n, **lacking) for n in names]
    data = report.read(stored(tmp_path, run_row(nodes_total=10), *rows))
    for table in (report.gates, report.placement):
        text = table(data).text
        assert text.count("<table") == text.count("ep=coreml: not in this build") == 1
        assert "e5 fp32 coreml, minilm fp32 coreml: not possible here" in text


def test_a_candidate_that_was_measured_where_no_gate_reads_has_its_gates_and_is_not_impossible(
    tmp_path: Path,
) -> None:
    other = run_row("b", model="e5", candidate_label="e5 fp32 cpu", batch_size=8, nodes_total=10)
    data = report.read(stored(tmp_path, run_row(nodes_total=10), other))
    assert "<li>" not in report.placement(data).text
    text = report.gates(data).text
    assert text.count("<table") == 2
    of_other = text.partition("e5 fp32 cpu: INCONCLUSIVE")[2]
    assert "no run at workload=default batch_size=1" in of_other
    assert "not measured" in of_other
    assert data.decision is not None
    assert "e5 fp32 cpu: INCONCLUSIVE, must gate" in data.decision.not_picked[0]


def test_a_pick_that_was_not_confirmed_is_provisional_wherever_it_is_named(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path, run_row()))
    assert "<b>provisional evidence</b>" in report.verdict(data).text
    assert "minilm fp32 cpu: GO, provisional" in report.gates(data).text


def test_a_verdict_that_rests_on_disturbed_launches_says_so_in_the_first_line(tmp_path: Path) -> None:
    row = run_row(p95_ms=45, launch_disturbed=[True] * 20)
    text = report.verdict(report.read(stored(tmp_path, row))).text
    assert "<strong>NO GO</strong>" in text
    assert "<b>provisional evidence, resting on disturbed launches</b>" in text


def test_runs_of_two_machines_are_refused_as_decide_refuses_them(tmp_path: Path) -> None:
    stored(tmp_path, run_row("old", machine_id="elder"), run_row("new", machine_id="newer"))
    with pytest.raises(BadInputError) as told:
        decide(load_runs(tmp_path))
    with pytest.raises(BadInputError, match="machine=ID") as told_here:
        report.read(tmp_path)
    assert str(told_here.value) == str(told.value)
    data = report.read(tmp_path, machine="elder")
    assert list(data.runs["run_id"]) == ["old"]
    assert "this is about machine elder alone" in report.verdict(data).text


def test_the_decision_is_the_one_that_decide_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    stored(
        tmp_path,
        run_row("here", launch_p95_ms=[12.0] * 4, launches=4, evidence_span_s=5.0),
        run_row("there", machine_id="m2"),
    )
    own = conf_dir() / "policy" / "strict.yaml"
    words = ["machine=m1", "baseline=reported_qwen3", f"policy.file={own}"]
    decide_main([f"results={tmp_path}", *words, "format=json"])
    data = report.read(tmp_path, machine="m1", baseline="reported_qwen3", policy_file=str(own))
    assert data.decision is not None
    assert data.decision.to_json() == capsys.readouterr().out
    assert f"results={tmp_path}" in report.verdict(data).text, "the commands measure into this folder"


def test_a_reported_figure_is_called_so_beside_the_speed_up_over_it(tmp_path: Path) -> None:
    stored(tmp_path, run_row())
    assert report.speedups(report.read(tmp_path)).text == ""
    text = report.speedups(report.read(tmp_path, baseline="reported_qwen3")).text
    assert "(reported)</h3>" in text
    assert "reported, not measured here" in text
    assert '<td data-name="baseline (reported)">171 ms</td>' in text


def test_what_limits_a_figure_stands_with_it(tmp_path: Path) -> None:
    twin = run_row("b", model="e5", weights="random", candidate_label="e5", evidence_span_s=120.0)
    data = report.read(stored(tmp_path, run_row(evidence_span_s=5.0), twin))
    for table in (report.runs, report.noise):
        assert "<td>minilm fp32 cpu, provisional</td>" in table(data).text
        assert "<td>e5, random weights</td>" in table(data).text
    assert "minilm fp32 cpu: GO, provisional" in report.gates(data).text
    assert "Warnings</h3><ul><li>random weights: e5" in report.verdict(data).text


def test_more_reasons_than_a_screen_holds_unfold(tmp_path: Path) -> None:
    failing = [
        run_row(f"r{i}", model_id=f"m{i}", candidate_label=f"model {i}", p95_ms=99.0, finite=False)
        for i in range(9)
    ]
    data = report.read(stored(tmp_path, *failing))
    assert data.decision is not None
    first, _, rest = report.verdict(data).text.partition("<details>")
    assert first.count("<li>") == 5
    assert rest.partition("</details>")[0].count("<li>") == len(data.decision.reasons) - 5
    assert "Fallback" in rest


def test_more_steps_than_a_screen_holds_unfold(tmp_path: Path) -> None:
    data = report.read(stored(tmp_path, run_row()))
    assert data.decision is not None
    steps = tuple(f"step {i}" for i in range(67))
    told = report.verdict(replace(data, decision=replace(data.decision, next_steps=steps))).text
    shown, _, folded = told.partition("<h3>Next</h3>")[2].partition("<details><summary>62 more</summary>")
    assert shown.count("<li>step ") == 5
    assert folded.partition("</details>")[0].count("<li>step ") == 62


def test_a_very_long_error_unfolds_wherever_it_is_told(tmp_path: Path) -> None:
    lacking = {"status": "unavailable", "launches": 0, "launch_p95_ms": [], "error": f"<b> {'x' * 3000} end"}
    absent = run_row("u", ep="coreml", candidate_label="minilm fp32 coreml", **lacking)
    data = report.read(stored(tmp_path, run_row(nodes_total=10), absent))
    for table in (report.gates, report.placement):
        text = table(data).text
        unfolded, _, folded = text.partition("…</summary>")
        assert "minilm fp32 coreml: not possible here: &lt;b&gt; xxx" in unfolded.rpartition("<summary>")[2]
        assert "x" * 3000 not in unfolded
        assert "x end" in folded.partition("</details>")[0]


def test_a_selection_keeps_what_it_names(tmp_path: Path) -> None:
    stored(tmp_path, run_row("a", batch_size=1), run_row("b", batch_size=8), run_row("c", batch_size=32))
    assert sorted(report.read(tmp_path, select="batch_size=1,8").runs["run_id"]) == ["a", "b"]
    some = report.read(tmp_path, select="batch_size=32")
    assert "2 of 3 runs are left out" in report.verdict(some).text
    with pytest.raises(
        BadInputError, match="select=model=nothing: none of 3 runs has model=nothing; its model is minilm"
    ):
        report.read(tmp_path, select="model=nothing")


def test_a_file_that_cannot_be_read_is_told_on_the_page(tmp_path: Path) -> None:
    stored(tmp_path, run_row())
    (tmp_path / "runs" / "broken.parquet").write_bytes(b"no parquet")
    with pytest.warns(UnreadableFileWarning):
        data = report.read(tmp_path)
    assert "broken.parquet" in report.verdict(data).text


def test_quality_tells_the_worst_cosine_in_every_company_as_gates_read_it(tmp_path: Path) -> None:
    company = {
        "batch_cosine_min": 0.9899,
        "batch_cosine_min_sorted": 0.9862,
        "batch_cosine_min_random": 0.9874,
    }
    data = report.read(stored(tmp_path, run_row("a", batch_size=32, **company)))
    assert ">0.9862</td>" in report.quality(data).text
    assert "0.9899" not in report.quality(data).text


def test_what_decides_is_not_rounded_away(tmp_path: Path) -> None:
    over = run_row("a", p95_ms=30.0001, neighbour_overlap=0.9996, parity_cosine_min=0.9999954)
    data = report.read(stored(tmp_path, over | {"evidence_span_s": 89.9, "ep_node_share": 0.996}))
    assert data.decision is not None
    assert "is 30.0001, needed < 30" in data.decision.reasons[0]
    assert '<td data-name="value">30.0001</td>' in report.gates(data).text
    assert ">0.999</td>" in report.quality(data).text
    assert ">0.999995</td>" in report.quality(data).text
    assert ">99%</td>" in report.placement(data).text
    assert ">1 min 29 s</td>" in report.noise(data).text
    close = {"p95_ms": 29.99999, "neighbour_overlap": 0.949996, "neighbour_overlap_low": 0.9}
    decision = report.read(stored(tmp_path, run_row("a", **close))).decision
    assert decision is not None
    assert "top-10 overlap is 0.949996, needed >= 0.95" in decision.reasons[0]
    decision = report.read(stored(tmp_path, run_row("a", p95_ms=29.99999))).decision
    assert decision is not None
    assert "minilm fp32 cpu: P95 29.99999 ms, the median launch's" in decision.reasons


def test_sweeps_are_told_with_their_ids(tmp_path: Path) -> None:
    text = report.sweeps(report.read(stored(tmp_path, run_row("a"), run_row("b")))).text
    assert "<td>s1</td>" in text
    assert 'data-value="2.0">2</td>' in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"select": "batchsize=1"}, "batch_size"),
        ({"select": "minilm"}, "column=value"),
        ({"select": "model='"}, "model="),
        ({"baseline": "qwen"}, "reported_qwen3"),
        ({"policy": "strict", "policy_file": "mine.yaml"}, "leave one of them out"),
        ({"machine": "x"}, "machine"),
        ({"policy": "defalt"}, "default"),
    ],
)
def test_a_wrong_word_is_told_with_what_there_is(tmp_path: Path, words: dict[str, str], told: str) -> None:
    stored(tmp_path, run_row())
    with pytest.raises(BadInputError, match=told):
        report.read(tmp_path, **words)


def test_a_comparison_tells_change_and_interval() -> None:
    pair = Comparison("a → b", "p95_ms", 3.0, 6.0, 2.0, 1.8, 2.2, "changed", "")
    text = report.comparison([pair]).text
    assert "slower" in text
    assert "1.800–2.200" in text
    stopped = replace(pair, b_ms=30.0, ratio=None, low=5.0, high=None, b_at_least=True, notes=("mind",))
    brief = replace(pair, notes=("provisional: measured apart, A spans 9 s of 90",))
    assert f"{pair.word}, provisional" in report.comparison([brief]).text
    assert "provisional" not in text
    text = report.comparison([stopped]).text
    assert "≥ 30" in text
    assert "5.000–∞" in text
    assert "mind" in text
    assert "Nothing is compared: give two sweeps" in report.comparison(report.compare(".", "", "")).text


def test_a_comparison_that_cannot_be_made_says_why_in_its_place(tmp_path: Path) -> None:
    """So that the notebook ends in words, on an empty folder too."""
    none = str(tmp_path)
    found, why = report.compare_or_why(none, none, none)
    assert found == []
    assert why == f"{none}: a folder without runs/, and there is no run in results={none}; measure first"
    assert f"Nothing is compared: {why}" in html.unescape(report.comparison(found, why).text)
    folder = stored(tmp_path, run_row("a"))
    found, why = report.compare_or_why(folder, "a", "a", select="model=minilm")
    assert (found, "A and B hold the same launches of a: nothing to compare" in why) == ([], True)


def test_figures_on_ones_own_texts_stand_apart_from_those_on_the_shipped_ones(tmp_path: Path) -> None:
    shipped = report.quality(report.read(stored(tmp_path, run_row("a")))).text
    assert "shipped texts" in shipped
    assert "your own" not in shipped
    rows = [
        run_row(
            "b", texts_count=500, texts_overlap=0.87, texts_cosine_mean=0.991, texts_file_sha256="ab" * 32
        ),
        run_row("c", sts_pairs=1500, sts_spearman=86.7, sts_file_sha256="cd" * 32),
        run_row(
            "d", retrieval_queries=40, retrieval_documents=300, ndcg_at_10=0.61, retrieval_sha256="ef" * 32
        ),
    ]
    text = report.quality(report.read(stored(tmp_path, *rows))).text
    for setting, values in (("texts", (500, 0.87, 0.991)), ("sts", (1500, 86.7)), ("retrieval", (40, 0.61))):
        told = text.partition(f"<code>quality.{setting}</code>")[2].partition("<h3>")[0]
        assert told.count("<tr>") == 2, "its heading and the run that has it"
        assert all(f'data-value="{float(value)!r}"' in told for value in values)
    other = run_row("e", texts_count=9, texts_overlap=0.5, texts_file_sha256="12" * 32)
    assert "<td>1212" in report.quality(report.read(stored(tmp_path, other))).text
    assert "<td>abab" in report.quality(report.read(tmp_path)).text, "another file's stay beside it"


def test_scores_of_mteb_stand_with_the_other_qualities_a_task_a_column(tmp_path: Path) -> None:
    assert "mteb" not in report.quality(report.read(stored(tmp_path, run_row("a")))).text
    rows = [
        run_row(
            "b", batch_size=8, mteb_scores='{"STSBenchmark": 0.8203, "<b>": null}', mteb_version="1.39.7"
        ),
        run_row("c", batch_size=32, mteb_scores='{"SciFact": 0.6451}', mteb_version="1.39.7"),
    ]
    text = report.quality(report.read(stored(tmp_path, *rows))).text
    told = text.partition("<code>quality.mteb</code>")[2]
    assert told.count("<tr>") == 3, "its heading and the runs that have one"
    for value in (0.8203, 0.6451):
        assert f'data-value="{value!r}">{value}</td>' in told
    assert "<td>1.39.7</td>" in told
    assert "<b>" not in told


def test_a_task_of_mteb_named_as_a_column_hides_nothing(tmp_path: Path) -> None:
    scores = '{"batch_size": 0.25, "candidate_label": 0.5, "mteb_version": 0.75}'
    row = run_row("a", batch_size=8, mteb_scores=scores, mteb_version="1.39.7")
    text = report.quality(report.read(stored(tmp_path, row))).text
    told = text.partition("<code>quality.mteb</code>")[2]
    for cell in ('"8.0">8<', '"0.25">0.25<', '"0.5">0.5<', '"0.75">0.75<', ">1.39.7<"):
        assert cell in told
    assert str(row["candidate_label"]) in told


def test_commands_in_backticks_become_code_and_stay_text() -> None:
    assert (
        _with_code("type `python -m a '<b>'` now")
        == "type <code>python -m a &#x27;&lt;b&gt;&#x27;</code> now"
    )
    assert _with_code("a lone ` stays") == "a lone ` stays"


@pytest.mark.parametrize("name", ["a`b`c", "it's`", "``'"])
def test_a_name_s_own_backticks_are_no_code(name: str) -> None:
    command = shlex.join(["python", "-m", "harness", f"model.path={name}"])
    told = _with_code(f"{name}: `{command}`, as {name}")
    assert told == f"{escape(name)}: <code>{escape(command)}</code>, as {escape(name)}"
