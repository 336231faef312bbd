"""Reference pages out of the code: configuration, commands, columns, exit codes. Run by `conf.py`."""

from __future__ import annotations

import inspect
import io
import json
from contextlib import redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from harness.compose import conf_dir, experiments_dir
from harness.config import yaml_of
from harness.errors import ExitCode
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION
from harness.schema import Config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.record import Column

# The modules of all commands but `python -m harness`, whose words are the configuration.
COMMANDS = (
    "harness.decide", "harness.compare", "harness.report.__main__", "harness.inspect", "harness.stages",
    "harness.doctor",
)  # fmt: skip
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "object": "mapping",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
# Defaults of so many characters would leave no room for what the key means.
_LONG = 30
# What a table's integers hold is no bound that anybody meets.
_NO_BOUND = 2**63 - 1


def write(folder: Path) -> None:
    """Write every generated page into `folder`."""
    folder.mkdir(exist_ok=True)
    pages = {
        "configuration": configuration(),
        "commands": commands(),
        "columns": columns(),
        "exit-codes": exit_codes(),
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def configuration() -> str:
    """Every key of `python -m harness` with its type, default and meaning, and the options of each group."""
    root = yaml_of(conf_dir() / "config.yaml")
    chosen = {group: name for entry in root["defaults"] for group, name in _items(entry)}
    fields = Config.model_fields
    plain = [name for name in fields if name in root and not isinstance(root[name], dict)]
    meanings = _attributes(Config)
    parts = [
        "# Configuration",
        "",
        "What follows `python -m harness` are `key=value` words. A group's option is `group=name`; any key "
        "under it can be given too. A default is that of a command that names neither; long ones stand in "
        "`conf/` alone. `policy.file=FILE` takes a whole policy of your own, a file like those in "
        "`conf/policy/`. `experiments=NAME` takes a preset.",
        "",
        "## Keys of a run",
        "",
        _keys(row for row in _rows(Config, "", root) if row[0].strip("`") in plain),
        "",
    ]
    for name, field in fields.items():
        if name not in chosen and not isinstance(root.get(name), dict):
            continue
        parts += [f"## `{name}`", "", f"{meanings[name][0].upper()}{meanings[name][1:]}", ""]
        given = root.get(name, {})
        if name in chosen:
            parts += [_options(conf_dir() / name, f"{name}="), ""]
            given = yaml_of(conf_dir() / name / f"{chosen[name]}.yaml")
        (schema,) = _schemas(field.annotation)
        parts += [_keys(_rows(schema, f"{name}.", given)), ""]
    parts += ["## `experiments`", "", _options(experiments_dir(), "experiments="), ""]
    return "\n".join(parts)


def _items(entry: object) -> Iterable[tuple[str, Any]]:
    """The group and option of an entry of Hydra's defaults, where the group is one of ours."""
    found = entry.items() if isinstance(entry, dict) else ()
    return [(group, name) for group, name in found if group in Config.model_fields]


def _options(folder: Path, prefix: str) -> str:
    rows = ((f"`{prefix}{path.stem}`", _first_comment(path)) for path in sorted(folder.glob("*.yaml")))
    return _table(("option", "is"), rows)


def _first_comment(path: Path) -> str:
    """The sentences of a file's opening comment."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @") or (not lines and not line.startswith("#")):
            continue
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _keys(rows: Iterable[Sequence[str]]) -> str:
    return _table(("key", "takes", "default", "meaning"), rows)


def _rows(schema: type[BaseModel], prefix: str, given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row a key: its dotted name, type, default and meaning; the keys of what it holds follow."""
    meanings, shown = _attributes(schema), schema.model_json_schema()["properties"]
    if meanings.keys() != schema.model_fields.keys():
        wrong = sorted(meanings.keys() ^ schema.model_fields.keys())
        raise ValueError(f"{schema.__name__}: fields and documented attributes differ: {', '.join(wrong)}")
    for name, field in schema.model_fields.items():
        value = given.get(name, field.default)
        default = f"`{json.dumps(value)}`" if value is None or isinstance(value, str | int | float) else ""
        default = default if len(default) < _LONG else ""
        yield f"`{prefix}{name}`", _kind(shown[name]), default, meanings[name]
        for inner in _schemas(field.annotation):
            many = "[]" if get_origin(field.annotation) is list else ""
            yield from _rows(inner, f"{prefix}{name}{many}.", value if isinstance(value, dict) else {})


def _schemas(annotation: object) -> list[type[BaseModel]]:
    """The schemas in a field's type."""
    parts = get_args(annotation) or (annotation,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def _kind(spec: Mapping[str, Any]) -> str:
    """A type in words, out of its JSON schema."""
    if "anyOf" in spec:
        return " or ".join(_kind(one) for one in spec["anyOf"])
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    if "$ref" in spec:
        return "the keys below"
    if spec.get("type") == "array":
        return f"list of {_kind(spec['items'])}"
    known = {sign: spec[key] for key, sign in _BOUNDS.items() if key in spec}
    bounds = [f"{sign} {bound:,.10g}" for sign, bound in known.items() if bound != _NO_BOUND]
    return f"{_TYPES[spec['type']] if 'type' in spec else 'any'} {', '.join(bounds)}".strip()


def _attributes(documented: type) -> dict[str, str]:
    """The ``Attributes:`` of a docstring, the last of its sections: each name's meaning."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = (inspect.getdoc(documented) or "").partition("\nAttributes:\n")
    for line in section.splitlines():
        if line.startswith("     "):
            found[name] += f" {line.strip()}"
        else:
            name, _, meaning = line.strip().partition(": ")
            found[name] = meaning
    return found


def commands() -> str:
    """What every other command prints for `--help`."""
    parts = [
        "# Commands",
        "",
        "`python -m harness --help` prints every group and key of a run: [configuration](configuration.md). "
        "The other commands take words of their own.",
        "",
    ]
    for module in COMMANDS:
        printed = io.StringIO()
        with redirect_stdout(printed):
            import_module(module).main(["--help"])
        parts += [
            f"## `{module.removesuffix('.__main__')}`",
            "",
            "```text",
            printed.getvalue().strip(),
            "```",
            "",
        ]
    return "\n".join(parts)


def columns() -> str:
    """The schema of what is stored."""
    return (
        f"# Columns\n\nSchema {SCHEMA_VERSION}. Unknown is null, never 0. Units and meanings also travel in "
        f"the files, as Arrow field metadata.\n\n## `runs/`\n\nOne row a run.\n\n{_columns(RUN_COLUMNS)}\n\n"
        f"## `launches/`\n\nOne row a launch, raw samples in list columns.\n\n{_columns(LAUNCH_COLUMNS)}\n"
    )


def _columns(declared: Sequence[Column]) -> str:
    rows = ((f"`{c.name}`", c.dtype, "yes" if c.nullable else "", c.unit, c.meaning) for c in declared)
    return _table(("column", "type", "can be null", "unit", "meaning"), rows)


def exit_codes() -> str:
    """Every exit code with its name and meaning."""
    meanings = _attributes(ExitCode)
    rows = ((str(int(code)), code.name.lower().replace("_", " "), meanings[code.name]) for code in ExitCode)
    return f"# Exit codes\n\n{_table(('code', 'name', 'meaning'), rows)}\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(headings), " | ".join("---" for _ in headings)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
