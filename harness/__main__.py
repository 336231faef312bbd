"""``python -m harness``: compose, validate, measure, show.

Hydra composes and sweeps; its task only collects the composed plans. They are measured after it has
returned, so that launches of all runs can be interleaved and every plan is valid before any starts.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

from harness.command import run_command
from harness.compose import compose
from harness.errors import BadInputError, ExitCode

if TYPE_CHECKING:
    from harness.schema import Config


def main(argv: list[str]) -> int:
    """Measure what `argv` describes; returns the exit code.

    Raises:
        HarnessError: see `harness.errors`.
    """
    raw = compose(argv)
    if not raw:
        return ExitCode.OK  # --help, --cfg and the like have printed what they had to
    configs = _validated(raw)
    return _measure(configs, sweep=len(raw) > 1 or any(word in ("-m", "--multirun") for word in argv))


def _validated(raw: list[dict[str, Any]]) -> list[Config]:
    """All plans, or all their problems together, with the words of the sweep that bring them about."""
    from harness.config import validate

    configs: list[Config] = []
    problems: dict[str, list[list[str]]] = {}
    for plain in raw:
        try:
            configs.append(validate(plain))
        except BadInputError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(plain["words"])
    if problems:
        common = set.intersection(*(set(plain["words"]) for plain in raw))
        raise BadInputError(*(f"{problem}{_culprit(at, common)}" for problem, at in problems.items()))
    return configs


def _culprit(runs: list[list[str]], common: set[str]) -> str:
    """What to leave out of a sweep: the words that all of these runs have and not all of its runs have."""
    shared = [word for word in runs[0] if word not in common and all(word in words for words in runs)]
    return f"; of this sweep leave out {' with '.join(map(shlex.quote, shared))}" if shared else ""


def _measure(configs: list[Config], *, sweep: bool) -> int:
    from datetime import UTC, datetime

    from harness import terminal
    from harness.confirm import confirm
    from harness.datasets import read_texts
    from harness.decision import decide
    from harness.evidence import candidate_rows
    from harness.paths import typed_path
    from harness.progress import Progress
    from harness.rerun import decide_command
    from harness.store import Store, load_runs
    from harness.sweep import failed_or_unavailable, measure

    if len({config.results for config in configs}) > 1:
        raise BadInputError("results= differs between the runs of one sweep; give one folder")
    if any(config.policy != configs[0].policy for config in configs):
        raise BadInputError("policy= differs between the runs of one sweep; measure, then harness.decide")
    if len({config.measure.purpose == "confirm" for config in configs}) > 1:
        raise BadInputError("measure=confirm stands beside others in one sweep; confirm the pick alone")
    store = Store(configs[0].results)
    with Progress(terminal.error_console()) as progress:
        own = [config.model for config in configs if config.model.path or "model=custom" in config.words]
        there = (model for model in own if model.path is None or typed_path(model.path).is_dir())
        for line in dict.fromkeys(map(terminal.model_line, there)):
            progress.note(line)
        for file in dict.fromkeys(config.quality.texts for config in configs if config.quality.texts):
            if repeated := read_texts(file).repeated:
                progress.note(f"quality.texts={file}: {repeated} of its texts repeat others and count once")
        began = datetime.now(UTC)
        if configs[0].measure.purpose == "confirm":
            rows = confirm(configs, store, progress)
        else:
            rows = measure(configs, store, progress, strict=not sweep)
        if line := terminal.nothing_new(rows, began):
            progress.note(line)
    runs, asked = candidate_rows(load_runs(store.path), rows), [str(row["run_id"]) for row in rows]
    decision = decide(runs, configs[0].policy, asked=asked)
    console, gates = terminal.output_console(), configs[0].policy.gates
    if sweep or len(rows) > 1:
        terminal.print_runs(console, rows, gates, decision.candidates)
    else:
        terminal.print_run(console, rows[0], gates, decision.candidates)
    terminal.print_decision(console, decision, details=False, anew=decide_command(rows[0]))
    if decision.chosen or len(decision.candidates) == 1:
        terminal.print_use(console, decision.candidates[0])
    console.print(f"results: {store.path}", markup=False, highlight=False, soft_wrap=True)
    return ExitCode.LAUNCH_FAILED if failed_or_unavailable(rows) else ExitCode.OK


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:]), measures=True))
