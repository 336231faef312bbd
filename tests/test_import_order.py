"""Data flows one way: a module imports only from stages before its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent

# What a model's own files say comes first, for a configuration is completed by it: config → candidate,
# workload → artifact → runtime, provider → measurement → environment, record → store → decision → report,
# each module after all that it imports.
ORDER = (
    "harness",
    "harness.errors",
    "harness.paths",
    "harness.units",
    "harness.stand_ins",
    "harness.cpu",
    "harness.stats",
    "harness.neighbours",
    "harness.locks",
    "harness.progress",
    "harness.texts",
    "harness.datasets",
    "harness.compose",
    "harness.measure",
    "harness.measure.container",
    "harness.artifacts",
    "harness.artifacts.manifest",
    "harness.artifacts.files",
    "harness.artifacts.inputs",
    "harness.artifacts.shapes",
    "harness.artifacts.sizes",
    "harness.artifacts.pooling",
    "harness.artifacts.graphs",
    "harness.artifacts.parameters",
    "harness.artifacts.hub",
    "harness.artifacts.modules",
    "harness.artifacts.local",
    "harness.artifacts.twin",
    "harness.schema",
    "harness.config",
    "harness.candidate",
    "harness.workload",
    "harness.artifacts.verification",
    "harness.artifacts.sources",
    "harness.artifacts.assemble",
    "harness.artifacts.adopt",
    "harness.artifacts.precision",
    "harness.artifacts.work",
    "harness.artifacts.anatomy",
    "harness.artifacts.coreml",
    "harness.artifacts.build",
    "harness.artifacts.process",
    "harness.artifacts.room",
    "harness.artifacts.fake",
    "harness.artifacts.cache",
    "harness.runtimes.profile",
    "harness.runtimes.base",
    "harness.runtimes",
    "harness.runtimes.onnxruntime",
    "harness.runtimes.fake",
    "harness.tokenizer",
    "harness.provider",
    "harness.measure.timer",
    "harness.measure.latency",
    "harness.measure.resources",
    "harness.measure.disturbance",
    "harness.measure.soak",
    "harness.measure.vectors",
    "harness.measure.quality",
    "harness.measure.sts",
    "harness.measure.retrieval",
    "harness.measure.parity",
    "harness.measure.batching",
    "harness.measure.hostile",
    "harness.measure.mteb",
    "harness.worker",
    "harness.launch",
    "harness.environment",
    "harness.measure.limits",
    "harness.record",
    "harness.summary",
    "harness.store",
    "harness.gates",
    "harness.rerun",
    "harness.caveats",
    "harness.run",
    "harness.describe",
    "harness.sweep",
    "harness.open_loop",
    "harness.confirmation",
    "harness.confirm",
    "harness.overhead",
    "harness.decision_record",
    "harness.verdict",
    "harness.objective",
    "harness.evidence",
    "harness.guards",
    "harness.remedies",
    "harness.judgement",
    "harness.robustness",
    "harness.sensitivity",
    "harness.decision",
    "harness.pairing",
    "harness.comparison",
    "harness.baseline",
    "harness.bars",
    "harness.terminal",
    "harness.command",
    "harness.step_summary",
    "harness.decide",
    "harness.compare",
    "harness.inspect",
    "harness.stages",
    "harness.doctor",
    "harness.looks",
    "harness.canvas",
    "harness.plots",
    "harness.report.data",
    "harness.report.tables",
    "harness.report.figures",
    "harness.report",
    "harness.report.execute",
    "harness.report.page",
    "harness.report.__main__",
    "harness.__main__",
)
# Imported inside a function, where a name is turned into a runtime or a lazy attribute into its home.
DISPATCH = {
    "harness": {"harness.decision", "harness.provider", "harness.store"},
    "harness.runtimes": {"harness.runtimes.onnxruntime", "harness.runtimes.fake"},
}


def module_name(path: Path) -> str:
    parts = ("harness", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in modules}
    return {name for name in found if name.split(".")[0] == "harness"}


def test_every_module_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_from_stages_before_its_own(name: str) -> None:
    earlier = set(ORDER[: ORDER.index(name)]) | DISPATCH.get(name, set())
    assert imports_of(MODULES[name]) <= earlier


@pytest.mark.parametrize("name", [n for n in ORDER if n not in ("harness.compose",)])
def test_only_the_composer_imports_hydra(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    assert "import hydra" not in text
    assert "from hydra" not in text
    assert "omegaconf" not in text.replace("hydra and omegaconf", "")


HEAVY = ("torch", "transformers", "optimum", "sentence_transformers", "huggingface_hub", "matplotlib", "mteb")


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(("asked", "told"), [(None, "1"), ("0", "0")])
def test_onnxruntime_reports_to_nobody_unless_that_is_asked_for(asked: str | None, told: str) -> None:
    code = "import harness, os\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    unset = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = unset | ({} if asked is None else {"ORT_DISABLE_TELEMETRY": asked})
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == told


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = modules_after("import harness")
    assert loaded.isdisjoint({*HEAVY, "pandas", "scipy", "onnxruntime", "numpy", "hydra"})


@pytest.mark.parametrize(
    "statement",
    [
        "import harness.worker, harness.runtimes.onnxruntime, harness.runtimes.fake, tokenizers",
        "from harness import load_runs, load_launches, decide, EmbeddingProvider",
        "import harness.sweep, harness.__main__",
    ],
)
def test_neither_the_measuring_process_nor_its_parent_imports_torch(statement: str) -> None:
    assert modules_after(statement).isdisjoint(HEAVY)


def test_the_worker_imports_no_configuration_and_no_data_frames() -> None:
    loaded = modules_after("import harness.worker, harness.runtimes.onnxruntime")
    assert loaded.isdisjoint({"pydantic", "hydra", "omegaconf", "pandas", "pyarrow", "rich", "scipy"})


def test_decide_is_the_function_whatever_was_imported_before() -> None:
    code = "from harness.decision import decide as own\nfrom harness import decide\nassert decide is own"
    subprocess.run([sys.executable, "-c", code], check=True)
