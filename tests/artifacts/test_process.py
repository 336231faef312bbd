"""The build's process, seen from outside: a scripted one tells steps, answers, fails or dies."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from harness.artifacts import build
from harness.artifacts.process import run_build
from harness.errors import ArtifactError, BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Script = Callable[[str], None]
    Told = list[tuple[str, float | None]]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let a shell script stand for the building Python."""

    def put(lines: str) -> None:
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        file.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(file))

    return put


def run(told: Told | None = None) -> dict[str, object]:
    told = [] if told is None else told
    return run_build(
        {"target": "somewhere"},
        what="tiny fp32",
        source="a test",
        tell=lambda what, left_s: told.append((what, left_s)),
    )


def test_steps_are_told_as_they_come_and_the_result_is_the_answer(script: Script) -> None:
    script(
        """cat > /dev/null
        echo '{"step": "loading"}'; echo '{"step": "exporting"}'; echo '{"result": {"opset": 18}}'"""
    )
    told: Told = []
    assert run(told) == {"opset": 18}
    assert [what for what, _ in told] == [f"building tiny fp32 (once): {s}" for s in ("loading", "exporting")]
    assert told[0][1] is None, "nothing is known before the first step is done"
    assert told[1][1] is not None
    assert told[1][1] >= 0


def test_the_request_reaches_it_as_json(script: Script, tmp_path: Path) -> None:
    script(f"""cat > {tmp_path}/request; echo '{{"result": {{}}}}'""")
    run()
    assert json.loads((tmp_path / "request").read_text(encoding="utf-8")) == {"target": "somewhere"}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("""echo '{"error": "ValueError: no good"}'; exit 1""", "ValueError: no good$"),
        ("echo one >&2; echo two >&2; exit 1", ": two$"),
        ("exit 3", ": exit code 3$"),
        ("kill -9 $$", "was killed, most likely for want of memory$"),
        ("""echo '{"step": "loading"}'; kill -9 $$""", "was killed, most likely for want of memory$"),
        (
            """echo '{"error": "ModuleNotFoundError: No module named torch"}'; exit 1""",
            r"No module named torch; building needs pip install 'embedding-harness\[build\]'$",
        ),
    ],
    ids=["says so", "on standard error", "says nothing", "killed", "killed at work", "not installed"],
)
def test_a_build_that_fails_tells_its_reason_in_one_line(script: Script, lines: str, reason: str) -> None:
    script(lines)
    with pytest.raises(ArtifactError, match=reason) as caught:
        run()
    assert str(caught.value).startswith("model tiny fp32 could not be built from a test: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        ("my model", BadInputError, "^model.path=my model: config.json is of no use$"),
        (None, ArtifactError, "^model tiny fp32 could not be built from a test: config.json is of no use$"),
    ],
    ids=["the user's own folder", "a source on a hub"],
)
def test_files_at_fault_are_bad_input_where_they_are_the_user_s_own(
    script: Script, path: str | None, error: type[Exception], told: str
) -> None:
    script("""echo '{"error": "config.json is of no use", "bad_input": true}'; exit 1""")
    with pytest.raises(error, match=told):
        run_build({}, what="tiny fp32", source="a test", tell=lambda *_: None, path=path)


def test_whoever_is_interrupted_leaves_no_process(script: Script, tmp_path: Path) -> None:
    script(f"""echo $$ > {tmp_path}/pid; echo '{{"step": "loading"}}'; exec sleep 60""")

    def interrupt(what: str, left_s: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_build({}, what="tiny", source="a test", tell=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), 0)


def test_every_step_that_a_build_tells_has_its_share_of_the_time() -> None:
    assert sum(build.STEPS[name] for name in ("loading", "exporting", "reference")) == pytest.approx(1.0)
    assert build.STEPS["converting"] == 1.0


def test_a_conversion_of_nothing_is_an_error(tmp_path: Path) -> None:
    request = {"base": str(tmp_path / "none"), "target": str(tmp_path), "settings": {"method": "fuse"}}
    out = io.StringIO()
    with pytest.raises(FileNotFoundError):
        build.convert(request | {"architecture": "bert", "published": None}, out)
    assert json.loads(out.getvalue()) == {"step": "converting"}
