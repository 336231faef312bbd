"""Go/no-go over everything measured: ``python -m harness.decide``.

The command alone; the decision itself is `harness.decision`, so that ``from harness import decide``
is the function whatever else was imported.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.baseline import against, find_baseline
from harness.command import run_command
from harness.config import load_policy, parse_words
from harness.decision import decide
from harness.decision_record import schema_text
from harness.errors import BadInputError, unknown_name
from harness.evidence import of_machine, selected, with_commands
from harness.paths import typed_path
from harness.progress import Progress, files_read
from harness.rerun import first_command
from harness.step_summary import append_summary
from harness.store import Store, load_launches, load_runs, skipped_files, under_way
from harness.verdict import record_id

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = {
    "results": "results",
    "policy": "default",
    "policy.file": "",
    "baseline": "",
    "baseline.file": "",
    "format": "table",
    "machine": "",
    "select": "",
    "summary": "",
}
_FORMATS = ("table", "json", "markdown", "schema")
_HELP = """python -m harness.decide [results=DIR] [policy=NAME] [policy.file=FILE] [machine=ID]
                      [select='COLUMN=VALUE,… …'] [baseline=NAME|RUN_ID] [baseline.file=FILE]
                      [format=table|json|markdown|schema] [summary=FILE]

Judges every candidate measured in results/ by a policy and picks one; writes decisions/<id>.json and .md
there. select='model=minilm,e5 ep=cpu' judges those runs alone; what a run does not have is null. baseline=
tells speed-ups over figures that others report (reported_qwen3, reported_candle, or those of
baseline.file=FILE), or over a run. format=json prints the record alone, format=schema its JSON schema. The
page is appended to summary=FILE, or to $GITHUB_STEP_SUMMARY where that is set.
Exit codes: 0 GO, 10 CONDITIONAL_GO, 11 NO_GO, 12 INCONCLUSIVE, 2 bad input.
"""


def main(argv: list[str]) -> int:
    """Decide, show, record; returns the verdict's exit code.

    Raises:
        BadInputError: an unknown key or value, or nothing to decide on.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return 0
    words = parse_words(argv, defaults=_DEFAULTS)
    if words["format"] not in _FORMATS:
        raise BadInputError(unknown_name("format", words["format"], _FORMATS))
    if words["format"] == "schema":
        sys.stdout.write(schema_text())
        return 0
    policy = load_policy(words["policy"], file=words["policy.file"] or None)
    if words["policy.file"]:
        words["policy.file"] = str(typed_path(words["policy.file"]).resolve())
    results = typed_path(words["results"])
    usual = typed_path(_DEFAULTS["results"]).resolve()  # however it was typed, the same record
    words["results"] = _DEFAULTS["results"] if results.resolve() == usual else str(results.resolve())
    with skipped_files() as skipped, ExitStack() as stack:
        progress = cache(lambda: stack.enter_context(_progress()))
        runs = load_runs(results, tell=files_read(progress, "runs"))
    asked = {key: words[key] for key in ("results", "policy", "policy.file")}
    if runs.empty:
        raise BadInputError(f"no runs to decide on; measure first: {first_command(**asked)}")
    runs, limits = of_machine(runs, words["machine"])
    runs, left_out = selected(runs, words["select"])
    baseline = find_baseline(words["baseline"], words["baseline.file"], runs)
    runs, elsewhere = with_commands(runs, **asked)
    decision = decide(runs, policy)
    told = (*limits, *elsewhere, *left_out, *skipped, *under_way(results, runs))
    decision = replace(decision, warnings=(*decision.warnings, *told))
    if baseline is not None:
        needed = {baseline.name, *(run.run_id for c in decision.candidates for run in c.runs)}
        decision = against(decision, baseline, runs, load_launches(results, needed, samples=False))
    json_text, page = decision.to_json(), decision.to_markdown()
    if words["format"] == "table":
        from harness.terminal import output_console, print_decision, print_runs, print_use

        console = output_console()
        read = [dict(row) for c in decision.candidates for row in sorted(c.rows, key=_in_order)]
        print_runs(console, read, policy.gates, decision.candidates)
        typed = (word for word in argv if not word.startswith("format="))
        anew = shlex.join(["python", "-m", "harness.decide", *typed])
        print_decision(console, decision, details=True, anew=anew)
        if decision.chosen:
            print_use(console, decision.candidates[0])
    else:
        sys.stdout.write(json_text if words["format"] == "json" else page)
    sys.stdout.flush()  # told first: what cannot be written can still be read
    record = Store(results).write_decision(record_id(json_text), json_text, page)
    if words["format"] == "table":
        sys.stdout.write(f"record: {record}\n")
    append_summary(page, words["summary"])
    return decision.exit_code


def _progress() -> Progress:
    from harness.terminal import error_console

    return Progress(error_console())


def _in_order(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """Where a run stands among its candidate's."""
    return str(row["workload"]), int(row["batch_size"]), int(row["clients"])


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
