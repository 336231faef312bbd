"""What changed between two sets of runs: ``python -m harness.compare A B``.

The command alone; the comparison itself is `harness.comparison`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.command import run_command
from harness.comparison import compare_retrieval, compare_runs
from harness.config import parse_words
from harness.errors import BadInputError, ExitCode, nearest, unknown_name
from harness.evidence import of_machine, rows_of, selected
from harness.pairing import without_counterpart
from harness.paths import typed_path
from harness.rerun import run_name
from harness.store import load_launches, load_runs
from harness.units import number_in

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

# So many runs and sweeps are told where a word names none.
_MOST_TOLD = 6
_DEFAULTS = {"results": "results", "threshold": "0.05", "format": "table", "across_machines": "false"}
_USAGE = (
    "python -m harness.compare A B [results=DIR] [threshold=0.05] [format=table|json] [across_machines=false]"
)
_HELP = f"""{_USAGE}

A and B: results directories, or sweep ids or run ids in results=DIR. Tells for each pair of runs whether
B's latency changed by more than the threshold, did not, or cannot be told. The ratio is the centre of the
launches' ratios, not that of the two medians. A sweep is all runs that it
measured, with all their launches. Two single runs are compared
whatever their candidates; larger sets are paired by candidate and where they were measured. Runs that were
interleaved in one sweep are compared round by round, which the machine's drift does not reach. Runs of
other requests, warm-up or cores are not paired; of several runs of the same thing the newest is taken,
and told, so too of replicates where the sides have none in common.
A launch that was stopped early counts with at least the bound it went over. What all launches
say and those that were not disturbed do not, where these are enough to tell, is inconclusive, and so is
everything where they are not and a side was disturbed wholly, or more often than chance explains beside the
other. A launch that failed is slower than any that did not: more of them in B than chance explains is slower
too, and where any failed nothing is unchanged.
Nor is it where one side has more slow or quick launches, by the threshold from the median of their side, than
chance explains, or more by a fifth of its launches: that is inconclusive, with the counts.
Runs that searched the same folder (quality.retrieval) are compared by nDCG@10 too, paired by query, with an
interval on the difference; the exit code is about latency alone.
Exit codes: 0, 13 B is slower, 2 bad input.
"""


def select(
    word: str, results: Path, *, only: str = "", machine: str = ""
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Rows of the runs that a word names, newest last, and the launches beside them.

    Args:
        word: a results directory, or a sweep's or run's id in `results`.
        results: where ids are looked up.
        only: columns and values of the runs to take, as `harness.evidence.selected` reads them.
        machine: whose runs to take; of all where it is empty.

    Raises:
        BadInputError: nothing of that name, or no measured run in it or left.
    """
    folder = typed_path(word)
    source = folder if (folder / "runs").is_dir() else results
    if not source.is_dir():
        raise BadInputError(
            f"{word}: no results directory, and results={results}, where an id would be looked up: no such "
            "directory; give a folder that holds runs/, or results=DIR"
        )
    runs, launches = load_runs(source), load_launches(source, samples=False)
    if source is not folder:
        known = [*runs["run_id"], *launches["sweep_id"]]
        if not known:
            what = "a folder without runs/" if folder.is_dir() else "no results directory"
            raise BadInputError(f"{word}: {what}, and there is no run in results={results}; measure first")
        if word not in known:
            raise BadInputError(_unknown(word, runs, launches))
        in_sweep = launches.loc[launches["sweep_id"] == word, "run_id"]
        runs = runs[(runs["run_id"] == word) | runs["run_id"].isin(in_sweep)]
    measured = runs[runs["launches"] > 0]
    if measured.empty:
        raise BadInputError(f"{word}: no measured run in it")
    try:
        kept, _ = selected(of_machine(measured, machine)[0], only)
    except BadInputError as error:
        raise BadInputError(f"{word}: {error}") from None
    return rows_of(kept), launches


def _unknown(word: str, runs: pd.DataFrame, launches: pd.DataFrame) -> str:
    """One line on an unknown word: the measured runs and the sweeps of several, each told, nearest first."""
    told = {str(row["run_id"]): run_name(row) for row in rows_of(runs[runs["launches"] > 0])}
    for sweep_id, of_sweep in launches.groupby("sweep_id"):
        ids = sorted(set(of_sweep["run_id"]) & told.keys())
        if len(ids) > 1:
            told[str(sweep_id)] = f"sweep of {len(ids)} runs, such as {told[ids[0]]}"
    texts = [*told, *told.values()]
    near = nearest(word, texts, most=len(texts), alike=0.0) if texts else []
    nearest_first = sorted(told, key=lambda name: min(near.index(name), near.index(told[name])))
    named = [f"{name} ({told[name]})" for name in nearest_first[:_MOST_TOLD]]
    more = f"; {len(told) - len(named)} more" if len(told) > len(named) else ""
    hint = f"the nearest are {'; '.join(named)}{more}" if named else "no run there was measured"
    return f"unknown run, sweep or results directory '{word}': {hint}"


def main(argv: list[str]) -> int:
    """Compare, show; returns 13 where B is slower.

    Raises:
        BadInputError: an unknown word, or nothing that can be compared.
    """
    if any(word in ("--help", "-h") for word in argv):
        sys.stdout.write(_HELP)
        return 0
    # No key has a slash: what has one before its "=" is a folder (./a=b).
    sides = [word for word in argv if "=" not in word or "/" in word.partition("=")[0]]
    words = parse_words([word for word in argv if word not in sides], defaults=_DEFAULTS)
    if len(sides) != 2:
        raise BadInputError(f"compare takes two sets of runs, not {len(sides)}: {_USAGE}")
    threshold = number_in(words["threshold"]) or 0.0
    if not 0 < threshold < 1:
        raise BadInputError(f"threshold={words['threshold']}: must be a share between 0 and 1; 5 % is 0.05")
    if words["format"] not in ("table", "json"):
        raise BadInputError(unknown_name("format", words["format"], ("table", "json")))
    if words["across_machines"] not in ("true", "false"):
        raise BadInputError(unknown_name("across_machines", words["across_machines"], ("true", "false")))
    (a, launches_a), (b, launches_b) = (select(side, typed_path(words["results"])) for side in sides)
    launches = (launches_a, launches_b)
    across = words["across_machines"] == "true"
    found = compare_runs(a, b, launches, threshold=threshold, across_machines=across)
    retrieval = compare_retrieval(a, b, across_machines=across)
    from harness.terminal import (
        error_console,
        output_console,
        print_comparisons,
        print_retrieval_comparisons,
    )

    for line in without_counterpart(a, b):
        error_console().print(line, markup=False, highlight=False, soft_wrap=True)
    if words["format"] == "json":
        sys.stdout.write(json.dumps([*map(asdict, found), *map(asdict, retrieval)], indent=1) + "\n")
    else:
        print_comparisons(output_console(), found)
        if retrieval:
            print_retrieval_comparisons(output_console(), retrieval)
    return ExitCode.REGRESSION if any(c.slower for c in found) else ExitCode.OK


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
