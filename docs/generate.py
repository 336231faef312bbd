"""Reference pages out of the code: columns, configuration, exit codes. Run by `conf.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import config
from harness.compose import conf_dir, experiments_dir
from harness.errors import ExitCode
from harness.record import LAUNCH_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from harness.record import Column


def write(folder: Path) -> None:
    """Write every generated page into `folder`."""
    folder.mkdir(exist_ok=True)
    pages = {"columns": columns(), "configuration": configuration(), "exit-codes": exit_codes()}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


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


def configuration() -> str:
    """Groups with their options, and the keys of each group's schema."""
    parts = ["# Configuration", "", "Everything is a `key=value` word; a group's option is `group=name`.", ""]
    for group in sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra"):
        parts += [f"## `{group}=`", "", _options(conf_dir() / group, f"{group}="), ""]
        schema = getattr(config, f"{group.title()}Config", None)
        if schema is not None:
            parts += [_keys(schema, group), ""]
    parts += ["## `experiments=`", "", _options(experiments_dir(), "experiments="), ""]
    return "\n".join(parts) + "\n"


def _options(folder: Path, prefix: str) -> str:
    rows = ((f"`{prefix}{path.stem}`", _first_comment(path)) for path in sorted(folder.glob("*.yaml")))
    return _table(("option", "is"), rows)


def _first_comment(path: Path) -> str:
    """The sentence of a file's opening comment."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @") or (not lines and not line.startswith("#")):
            continue
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _keys(schema: type[BaseModel], group: str) -> str:
    fields = schema.model_fields.items()
    rows = ((f"`{group}.{name}`", _type(field), field.description or "") for name, field in fields)
    return _table(("key", "type", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    shown = getattr(field.annotation, "__name__", str(field.annotation)) if field.annotation else ""
    return f"`{shown.replace('typing.', '')}`"


def exit_codes() -> str:
    """Every exit code with its name."""
    rows = ((str(int(code)), code.name.lower().replace("_", " ")) for code in ExitCode)
    return f"# Exit codes\n\n{_table(('code', 'meaning'), rows)}\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(headings), " | ".join("---" for _ in headings)]
    lines += [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
