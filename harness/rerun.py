"""The commands that measure a run's candidate again, or somewhere else."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError
from harness.gates import place_words, plain, row_place, text_of
from harness.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMAND = ["python", "-m", "harness"]
_DEFAULTS = {
    "precision": "fp32", "runtime": "onnxruntime", "workload": "default", "batch_size": "1",
    "policy": "default", "policy.file": "", "results": "results", "measure.replicate": "0",
    "model.weights": "trained",
}  # fmt: skip
# What a command may count otherwise than usual.
_COUNTS = {"measure.requests": "requests", "measure.warmup_requests": "to warm up"}
# A change of one of these leaves nothing of the words that begin so.
_REPLACED = {"workload": ("workload", "batch_size"), "policy": ("policy",), "runtime": ("runtime",)}


def command_for(row: Mapping[str, Any], **changes: Any) -> str:
    """The command that measures a run's candidate, with some keys changed; `workload` names a whole place."""
    words = words_for(row, **changes)
    return shlex.join([*_COMMAND, *(f"{name}={value}" for name, value in words.items())])


def words_for(row: Mapping[str, Any], **changes: Any) -> dict[str, str]:
    """The words of that command that differ from the defaults.

    Raises:
        BadInputError: as `typed_words`.
    """
    if not (words := typed_words(row)):
        words = {name: str(row[name]) for name in ("model", "precision", "runtime", "ep")}
        words |= place_words(row_place(row))
        if (threads := plain(row["threads"])) is not None:
            words["threads"] = str(threads)
    for group in _REPLACED.keys() & changes:
        words = {name: value for name, value in words.items() if not name.startswith(_REPLACED[group])}
    words |= {name: str(value) for name, value in changes.items()}
    return _untypical(words)


def first_command(**asked: str) -> str:
    """The command of a first measurement, with the words that are asked: where it is kept, by what policy."""
    words = _untypical({"model": "minilm", "ep": "cpu", **asked})
    return shlex.join([*_COMMAND, *(f"{name}={value}" for name, value in words.items())])


def _untypical(words: Mapping[str, str]) -> dict[str, str]:
    """The words that differ from the defaults."""
    return {name: value for name, value in words.items() if _DEFAULTS.get(name) != value}


def typed_words(row: Mapping[str, Any]) -> dict[str, str]:
    """The words of a run's own command; empty where it has none.

    Raises:
        BadInputError: it is no command that measures: without its words it would be another candidate's.
    """
    command = text_of(row["command"], "")
    try:
        words = shlex.split(command)
    except ValueError:
        words = [command]
    if words and words[:3] != _COMMAND:
        raise BadInputError(
            f"run {row['run_id']}: its command is none that measures it: {command!r}; remove it from runs/, "
            "and measure it anew"
        )
    return dict(word.partition("=")[::2] for word in words[3:])


def particulars(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes a run another one than that of its candidate at its place, in words; empty for most."""
    said = [f"#{number}"] if (number := plain(row["replicate"])) else []
    said += [counted(int(row["cpus"]), "core")] if plain(row["cpus"]) is not None else []
    words = typed_words(row)
    return (*said, *(f"{words[key]} {told}" for key, told in _COUNTS.items() if key in words))


def run_name(row: Mapping[str, Any]) -> str:
    """A run among others: its candidate, its place, and what else tells it apart."""
    soak = " soak" if row["purpose"] == "soak" else ""
    return ", ".join((f"{row['candidate_label']}{soak}", str(row_place(row)), *particulars(row)))


def again(row: Mapping[str, Any], **changes: Any) -> str:
    """The command that measures a run itself again, or goes on with it."""
    soak = {"measure": "soak"} if row["purpose"] == "soak" else {}
    return command_for(row, **soak, **changes)


def decide_command(row: Mapping[str, Any], **policy: str) -> str:
    """The command that decides on the results that a run is kept in, by its policy or by another one."""
    names = ("results", "policy", "policy.file")
    kept = {name: value for name, value in words_for(row, **policy).items() if name in names}
    told = (f"{name}={value}" for name, value in (kept | policy).items())
    return shlex.join(["python", "-m", "harness.decide", *told])


def elsewhere(row: Mapping[str, Any], **changes: Any) -> str:
    """The command that measures a run's candidate somewhere else: no replicate of that run."""
    return command_for(row, **{"measure.replicate": 0}, **changes)
