"""An installed wheel carries its own configuration, presets and data, and nothing top-level."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    site = folder / "site"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def test_everything_in_the_wheel_stands_inside_the_package(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"harness"}
    for folder in ("conf", "experiments"):
        source = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*.yaml")}
        assert {
            p.relative_to(installed / "harness" / folder)
            for p in (installed / "harness" / folder).rglob("*.yaml")
        } == source
    for name in ("data/quality_pairs.jsonl", "data/baselines.yaml", "schemas/decision.schema.json"):
        assert (installed / "harness" / name).is_file()


def test_the_installed_package_composes_a_preset_from_its_own_configuration(
    installed: Path, tmp_path: Path
) -> None:
    code = """
import harness.compose as c
print(c.conf_dir())
print(len(c.compose(["experiments=day1_baseline"])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(installed / "harness" / "conf"), "2"]
