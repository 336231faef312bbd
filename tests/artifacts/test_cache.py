"""The artifact cache: built once, every byte verified, rebuilt when damaged, safe between processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.artifacts import cache
from harness.artifacts.cache import Recipe, cache_dir, prepare
from harness.artifacts.manifest import GRAPH, MANIFEST, Artifact, problems_of
from harness.config import load_model, load_precision
from harness.errors import ArtifactError, StorageError
from harness.provider import EmbeddingProvider, prepare_artifact
from harness.runtimes.base import SessionOptions
from tests.artifacts.building import build_here
from tests.artifacts.test_build import tiny_bert, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Recipe(load_model("minilm"), load_precision("fp32"), "fake")
FILES = [MANIFEST, "tokenizer.json", "topics.json", "reference.npy", "verification.npy"]


def accept(artifact: Artifact) -> None:
    """A check that refuses nothing."""


def refuse(artifact: Artifact) -> None:
    """A check that refuses everything."""
    raise ArtifactError("refused by the test")


class Log:
    """What `prepare` told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, what: str, left_s: float | None) -> None:
        self.lines.append(what)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which a fake artifact was really built."""
    folders: list[Path] = []
    write_files = cache.fake.write_files

    def counted(target: Path, *arguments: object, **named: object) -> object:
        folders.append(target)
        return write_files(target, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(cache.fake, "write_files", counted)
    return folders


def only_file(folder: Path, pattern: str) -> Path:
    """The one file that matches."""
    (path,) = folder.glob(pattern)
    return path


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate(path: Path) -> None:
    """Keep the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Keep nothing of a file."""
    os.truncate(path, 0)


DAMAGE = [flip, truncate, empty, Path.unlink]
DAMAGED = ["one bit flipped", "cut in half", "emptied", "deleted"]


# --- recipes


def test_the_cache_lies_where_the_user_s_cache_directory_is(world: Path) -> None:
    assert cache_dir() == world / "cache" / "embedding-harness"


def test_a_recipe_is_the_same_for_the_same_request() -> None:
    assert Recipe(load_model("minilm"), load_precision("fp32"), "fake").sha256 == FAKE.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "cls"},
        {"normalize": False},
        {"max_length": 128},
        {"revision": "another"},
        {"id": "other/model"},
        {"dim": 256},
        {"prompts": load_model("e5").prompts},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_of_a_model_changes_an_artifact_changes_its_recipe(change: dict[str, object]) -> None:
    assert Recipe(FAKE.model.model_copy(update=change), load_precision("fp32"), "fake").sha256 != FAKE.sha256


def test_runtime_and_precision_are_part_of_a_recipe() -> None:
    others = {
        Recipe(FAKE.model, load_precision("fp32"), "onnxruntime").sha256,
        Recipe(FAKE.model, load_precision("fp16"), "fake").sha256,
    }
    assert len(others | {FAKE.sha256}) == 3


# The files of a sentence-transformers folder that a build reads: its reference follows modules.json
# and what that names.
MODEL_FILES = [
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "modules.json",
    "1_Pooling/config.json",
    "deep/er/2_Dense/config.json",
    "deep/er/2_Dense/model.safetensors",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "vocab.txt",
]
NAMED = [{"type": "Any", "path": path} for path in ("", "1_Pooling", "deep/er/2_Dense")]


def local_recipe(folder: Path) -> Recipe:
    """A recipe of the user's own folder, its files made up if they are not there yet."""
    for name in MODEL_FILES:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = json.dumps(NAMED if name == "modules.json" else {"file": name})
            path.write_text(made, encoding="utf-8")
    return Recipe(FAKE.model.model_copy(update={"path": str(folder)}), load_precision("fp32"), "fake")


def test_a_copy_of_a_local_folder_is_the_same_recipe(tmp_path: Path) -> None:
    assert local_recipe(tmp_path / "one").sha256 == local_recipe(tmp_path / "two").sha256


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_local_folder_with_another_file_is_another_recipe(tmp_path: Path, name: str) -> None:
    before = local_recipe(tmp_path / "model").sha256
    (tmp_path / "model" / name).write_text('{"changed": true}', encoding="utf-8")
    assert local_recipe(tmp_path / "model").sha256 != before


# --- once, and whole


def test_the_second_call_takes_what_the_first_one_built(tmp_path: Path, builds: list[Path], log: Log) -> None:
    first = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    log.lines.clear()
    second = prepare(FAKE, check=refuse, tell=log, root=tmp_path)  # not even verified anew
    assert second == first
    assert len(builds) == 1
    assert log.lines == []


def test_an_artifact_s_folder_is_named_by_its_hash(tmp_path: Path, log: Log) -> None:
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    assert artifact.path == tmp_path / "artifacts" / artifact.sha256
    assert sorted(path.name for path in artifact.path.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE, ids=DAMAGED)
def test_a_damaged_file_is_noticed_and_the_artifact_rebuilt_as_it_was(
    tmp_path: Path, builds: list[Path], log: Log, name: str, damage: Callable[[Path], None]
) -> None:
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    before = {path.name: path.read_bytes() for path in artifact.path.iterdir()}
    damage(artifact.path / name)
    log.lines.clear()
    again = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    assert len(builds) == 2
    assert log.lines[0].startswith("rebuilding")
    assert name in log.lines[0] or name == MANIFEST
    assert again.sha256 == artifact.sha256
    assert {path.name: path.read_bytes() for path in again.path.iterdir()} == before
    np.testing.assert_array_equal(again.reference(), artifact.reference())


@pytest.mark.parametrize("damage", DAMAGE, ids=DAMAGED)
def test_a_damaged_index_is_written_anew(
    tmp_path: Path, builds: list[Path], log: Log, damage: Callable[[Path], None]
) -> None:
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    index = only_file(tmp_path / "recipes", "*.json")
    before = index.read_bytes()
    damage(index)
    assert prepare(FAKE, check=accept, tell=log, root=tmp_path).sha256 == artifact.sha256
    assert index.read_bytes() == before
    assert problems_of(prepare(FAKE, check=accept, tell=log, root=tmp_path)) == []


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"artifact_sha256": null}', '"text"'])
def test_an_index_that_says_something_else_is_written_anew(tmp_path: Path, log: Log, content: str) -> None:
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    index = only_file(tmp_path / "recipes", "*.json")
    index.write_text(content, encoding="utf-8")
    assert prepare(FAKE, check=accept, tell=log, root=tmp_path).sha256 == artifact.sha256
    assert json.loads(index.read_text(encoding="utf-8")) == {"artifact_sha256": artifact.sha256}


def test_an_artifact_that_another_recipe_gives_too_is_left_where_it_is(tmp_path: Path, log: Log) -> None:
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    other = Recipe(FAKE.model.model_copy(update={"layers": None}), load_precision("fp32"), "fake")
    assert other.sha256 != FAKE.sha256
    with artifact.tokenizer.open("rb") as read_by_somebody:
        assert prepare(other, check=accept, tell=log, root=tmp_path) == artifact
        assert os.fstat(read_by_somebody.fileno()).st_nlink == 1, "removed under its reader"


def test_one_bit_flipped_in_the_real_graph_is_noticed_and_gives_the_same_vectors_again(
    minilm: Artifact,
    provider: EmbeddingProvider,
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "run_build", build_here)
    shutil.copytree(cache_dir(), tmp_path / "cache")
    graph = tmp_path / "cache" / "artifacts" / minilm.sha256 / GRAPH
    flip(graph)
    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "onnxruntime")
    again = prepare_artifact(recipe, tell=log, root=tmp_path / "cache")
    assert log.lines[0].startswith(f"rebuilding the cached minilm: {GRAPH}: sha256")
    assert again.sha256 == minilm.sha256
    assert again.path == graph.parent
    texts = ["one bit", "flipped in the weights moves every vector by a little"]
    rebuilt = EmbeddingProvider.open(again, "onnxruntime", SessionOptions())
    np.testing.assert_array_equal(rebuilt.encode(texts), provider.encode(texts))


# --- refused, failed, killed


def test_a_refused_build_is_not_published(tmp_path: Path, builds: list[Path], log: Log) -> None:
    with pytest.raises(ArtifactError, match="refused by the test"):
        prepare(FAKE, check=refuse, tell=log, root=tmp_path)
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert list((tmp_path / "recipes").glob("*.json")) == []
    prepare(FAKE, check=accept, tell=log, root=tmp_path)
    assert len(builds) == 2


def test_the_check_sees_the_whole_artifact_before_anybody_else(tmp_path: Path, log: Log) -> None:
    seen: list[str] = []

    def check(artifact: Artifact) -> None:
        assert problems_of(artifact) == []
        assert artifact.path != tmp_path / "artifacts" / artifact.sha256
        seen.append(artifact.sha256)

    artifact = prepare(FAKE, check=check, tell=log, root=tmp_path)
    assert seen == [artifact.sha256]


def test_an_interrupted_build_leaves_nothing_and_frees_the_lock(tmp_path: Path, log: Log) -> None:
    def interrupt(artifact: Artifact) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FAKE, check=interrupt, tell=log, root=tmp_path)
    assert list((tmp_path / "artifacts").iterdir()) == []
    prepare(FAKE, check=accept, tell=log, root=tmp_path)


PREPARE = """
import os, signal, sys, time
from pathlib import Path
from harness.artifacts import cache
from harness.config import load_model, load_precision

root, what = Path(sys.argv[1]), sys.argv[2]
write_files = cache.fake.write_files

def build(*arguments, **named):
    print("building", flush=True)
    # As long as the other process needs to find it at work, however slow that one starts.
    while what == "live" and not (root / "waited").exists():
        time.sleep(0.01)
    return write_files(*arguments, **named)

def tell(told, _):
    print(told, flush=True)
    if told.startswith("waiting"):
        (root / "waited").touch()

def check(artifact):
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)

cache.fake.write_files = build
recipe = cache.Recipe(load_model("minilm"), load_precision("fp32"), "fake")
artifact = cache.prepare(recipe, check=check, tell=tell, root=root)
print(artifact.sha256)
"""


def start(root: Path, what: str) -> subprocess.Popen[str]:
    """A process that prepares the fake artifact in `root`."""
    words = [sys.executable, "-c", PREPARE, str(root), what]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_processes_that_ask_at_once_get_one_build(tmp_path: Path) -> None:
    both = [start(tmp_path, "live"), start(tmp_path, "live")]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    lines = [output.strip().splitlines() for output in outputs]
    assert lines[0][-1] == lines[1][-1]
    assert sum("building" in part for part in lines) == 1
    assert any(line.startswith("waiting for a build by process") for part in lines for line in part)
    assert (tmp_path / "artifacts" / lines[0][-1] / MANIFEST).is_file()


def test_what_a_killed_build_leaves_is_removed_by_the_next_one(tmp_path: Path, log: Log) -> None:
    killed = start(tmp_path, "die")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (left_over,) = (tmp_path / "artifacts").glob(".building-*")
    foreign = tmp_path / "artifacts" / ".building-000000000000-other"  # another recipe's, perhaps alive
    foreign.mkdir()
    artifact = prepare(FAKE, check=accept, tell=log, root=tmp_path)
    assert not left_over.exists()
    assert sorted((tmp_path / "artifacts").iterdir()) == sorted([foreign, artifact.path])


def test_threads_that_ask_at_once_get_one_build(tmp_path: Path, builds: list[Path], log: Log) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(prepare(FAKE, check=accept, tell=log, root=tmp_path).sha256)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(builds) == 1


def shadowed(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Put a package `transformers`, the first large one that a build imports, before the installed one."""
    (folder / "transformers").mkdir(parents=True)
    (folder / "transformers" / "__init__.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(
            "raise ModuleNotFoundError(\"No module named 'transformers'\")",
            r"No module named 'transformers'; building needs pip install 'embedding-harness\[build\]'$",
            id="not installed",
        ),
        pytest.param("raise RuntimeError('first\\nsecond')", "RuntimeError: first second$", id="raises"),
        pytest.param("import os; os._exit(7)", "exit code 7$", id="exits"),
        pytest.param(
            "import os; os.kill(os.getpid(), 9)",
            "the process was killed, most likely for want of memory$",
            id="is killed",
        ),
        pytest.param(
            "import os, sys; print('out of memory', file=sys.stderr, flush=True); os._exit(1)",
            "out of memory$",
            id="says why",
        ),
    ],
)
def test_a_build_that_fails_is_an_artifact_error_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Log, code: str, reason: str
) -> None:
    shadowed(monkeypatch, tmp_path / "path", code)
    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "onnxruntime")
    with pytest.raises(ArtifactError, match=reason) as caught:
        prepare(recipe, check=accept, tell=log, root=tmp_path / "cache")
    assert str(caught.value).startswith("model minilm fp32 could not be built from ")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []


def test_an_interruption_ends_the_building_process_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    shadowed(
        monkeypatch,
        tmp_path / "path",
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(30)",
    )

    def interrupt(what: str, left_s: float | None) -> None:
        deadline = time.monotonic() + 20
        while not (note.exists() and note.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.02)
        raise KeyboardInterrupt

    recipe = Recipe(load_model("minilm"), load_precision("fp32"), "onnxruntime")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        prepare(recipe, check=accept, tell=interrupt, root=tmp_path / "cache")
    assert time.monotonic() - started < 25, "waited for the build instead of ending it"
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text(encoding="utf-8")), 0)


@pytest.mark.parametrize("below", ["", "cache"], ids=["a file", "below a file"])
def test_a_cache_that_cannot_be_written_is_a_storage_error_with_the_remedy(
    tmp_path: Path, log: Log, below: str
) -> None:
    file = tmp_path / "file"
    file.write_text("no directory", encoding="utf-8")
    with pytest.raises(StorageError, match=r"cannot be written: .*XDG_CACHE_HOME") as caught:
        prepare(FAKE, check=accept, tell=log, root=file / below)
    assert str(file) in str(caught.value)


def test_a_model_of_ones_own_is_built_under_the_name_that_tables_show(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run_build(_request: object, *, what: str, **_: object) -> None:
        asked.append(what)
        raise ArtifactError("refused by the test")

    monkeypatch.setattr(cache, "run_build", run_build)
    model = tiny_model(tiny_bert(tmp_path / "search v3"), name="custom+49a9")
    with pytest.raises(ArtifactError, match="refused by the test"):
        prepare(Recipe(model, load_precision("fp32"), "onnxruntime"), check=refuse, tell=log, root=tmp_path)
    assert asked == ["search-v3+49a9 fp32"]
