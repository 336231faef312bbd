"""Go/no-go over everything measured: ``python -m harness.decide``.

The command alone; the decision itself is `harness.decision`, so that ``from harness import decide``
is the function whatever else was imported.
"""

from __future__ import annotations

import sys

from harness.command import run_command
from harness.config import load_policy, parse_words
from harness.decision import command_for, decide, rows_of
from harness.errors import BadInputError, unknown_name
from harness.paths import typed_path
from harness.store import Store, load_runs

_DEFAULTS = {
    "results": "results",
    "policy": "default",
    "policy.file": "",
    "format": "table",
    "machine": "",
}
_FORMATS = ("table", "json", "markdown")
_HELP = """python -m harness.decide [results=DIR] [policy=NAME] [policy.file=FILE] [machine=ID]
                      [format=table|json|markdown]

Judges every candidate measured in results/ by a policy and picks one; writes decisions/<id>.json and .md
there. Exit codes: 0 GO, 10 CONDITIONAL_GO, 11 NO_GO, 12 INCONCLUSIVE, 2 bad input.
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
    policy = load_policy(words["policy"], file=words["policy.file"] or None)
    results = typed_path(words["results"])
    runs = load_runs(results)
    if words["results"] != _DEFAULTS["results"]:  # the commands that are told measure into this folder
        told = [command_for(row, results=words["results"]) for row in rows_of(runs)]
        runs = runs.assign(command=told)
    if words["machine"]:
        machines = sorted(set(runs["machine_id"]))
        if words["machine"] not in machines:
            raise BadInputError(unknown_name("machine", words["machine"], machines))
        runs = runs[runs["machine_id"] == words["machine"]]
    decision = decide(runs, policy)
    if words["format"] == "table":
        from harness.terminal import output_console, print_decision

        print_decision(output_console(), decision, details=True)
    else:
        text = decision.to_json() if words["format"] == "json" else decision.to_markdown()
        sys.stdout.write(text)
    sys.stdout.flush()  # told first: what cannot be written can still be read
    record = Store(results).write_decision(decision.id, decision.to_json(), decision.to_markdown())
    if words["format"] == "table":
        sys.stdout.write(f"record: {record}\n")
    return decision.exit_code


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
