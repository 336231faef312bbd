"""A repository on a model hub: its revision resolved once, its files downloaded, every byte checked.

All traffic goes through ``huggingface_hub``, and so by its own settings: ``HF_ENDPOINT`` for a mirror,
``HF_HUB_CACHE`` for where files are kept, ``HF_TOKEN``, ``HF_HUB_OFFLINE``. What the hub said about a
repository (the commit behind a branch, its files) is kept beside the artifacts, so that a second build, and
one without a network, finds the same commit.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.artifacts.manifest import file_sha256
from harness.errors import ArtifactError, ModelUnavailableError, StorageError
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Tell = Callable[[str, float | None], None]

# How long the hub may take for its first answer, in s.
TIMEOUT_S = 5.0
# A hub that asks for a longer pause than this is not waited for, in s.
LONGEST_PAUSE_S = 60.0
# Where it asks for a pause without saying how long, in s.
_PAUSE_S = 5.0
_TRIES = 4
_TICK_S = 1.0
# Smaller files arrive before anybody could read that they do; larger ones are told at each such share.
_TOLD_BYTES = 2**20
_TOLD_SHARE = 0.05
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_T = TypeVar("_T")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it; None is not told.

    `git_sha1` is git's hash of what the repository itself holds: a pointer, where there is a `sha256` too.
    """

    size_bytes: int | None
    sha256: str | None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at a commit; `pinned`: that commit was asked for, not whatever a branch held."""

    name: str
    commit: str
    pinned: bool
    files: dict[str, RemoteFile]

    @property
    def label(self) -> str:
        """Name and commit, for manifests and messages."""
        return f"hub {self.name} at {self.commit[:12]}{'' if self.pinned else ' (unpinned)'}"


def cache_dir() -> Path:
    """The user's cache directory of this package (platformdirs; ``XDG_CACHE_HOME`` moves it on Linux)."""
    from platformdirs import user_cache_path

    return user_cache_path("embedding-harness", appauthor=False)


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit's full hash, which alone is pinned."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def find_repository(name: str, revision: str | None, *, tell: Tell) -> Repository:
    """A repository at a revision: as it was found before, else as the hub says now, else as it is cached.

    Args:
        name: ``organisation/name``.
        revision: a commit, branch or tag; None is ``main``.
        tell: called with what is waited for.

    Raises:
        ModelUnavailableError: it cannot be had; with the reason.
        ArtifactError: the hub gives another commit than the one that was asked for.
    """
    where = f"hub {name} at {(revision or 'main')[:12]}"
    record = cache_dir() / "hub" / f"{name}@{revision or 'main'}.json".replace("/", "--")
    known = _remembered(record)
    if known is not None and not (is_commit(revision) and known.commit != revision):
        return known
    hub = _client(where)
    try:
        info = _patiently(
            lambda: hub.HfApi().model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT_S),
            tell,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # the client takes any JSON
        folder = _cached(name, revision)
        if folder is not None and (folder / "modules.json").is_file():
            return _as_cached(name, folder, pinned=is_commit(revision))
        why = f"{_not_cached(error)}{reason_of(error)}"
        if folder is not None:  # perhaps left by a program that takes only what it needs
            why += f"; {folder} may not be whole (it has no modules.json): if it is, give model.path={folder}"
        raise ModelUnavailableError(f"{where}: {why}") from None
    if not is_commit(info.sha):
        raise ModelUnavailableError(f"{where}: the hub names no commit for it")
    if is_commit(revision) and info.sha != revision:
        raise ArtifactError(
            f"hub {name}: commit {revision} was asked for, and the hub gives {info.sha}; give another hub by "
            "HF_ENDPOINT, or that commit as model.revision"
        )
    files = {
        sibling.rfilename: RemoteFile(
            sibling.size, None if sibling.lfs is None else sibling.lfs.sha256, sibling.blob_id
        )
        for sibling in info.siblings or []
    }
    found = Repository(name, info.sha, is_commit(revision), files)
    with suppress(OSError):  # a courtesy: without it the hub is asked again
        record.parent.mkdir(parents=True, exist_ok=True)
        scratch = record.with_suffix(f".{threading.get_native_id()}.tmp")
        scratch.write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
        scratch.replace(record)
    return found


def fetch(repository: Repository, names: Iterable[str], *, tell: Tell) -> Path:
    """Have these files of a repository in the hub's cache, and hold each against every hash the hub told.

    An interrupted download goes on where it stopped.

    Args:
        repository: as `find_repository` gave it.
        names: of files in it.
        tell: called with the bytes that have arrived and the seconds that are probably left.

    Returns:
        The folder with the repository's files at its commit.

    Raises:
        ModelUnavailableError: a file cannot be downloaded; with the reason.
        ArtifactError: a file is not what the hub said it is.
        StorageError: there is not enough space for them; nothing was downloaded.
    """
    hub = _client(repository.label)
    names = list(dict.fromkeys(names))
    if not names:
        raise ModelUnavailableError(f"{repository.label}: it has no file that describes a model")
    if missing := [name for name in names if name not in repository.files]:
        raise ModelUnavailableError(f"{repository.label}: it has no {', no '.join(missing)}")
    absent = [name for name in names if _path(repository, name) is None]
    blobs = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.name.replace('/', '--')}" / "blobs"
    _require_space(repository, absent, blobs)
    for name in absent:
        try:
            if name == absent[0]:
                _reach()
            _download(repository, name, blobs, tell)
        except (OSError, ValueError) as error:
            why = f"{_not_cached(error)}{reason_of(error)}"
            raise ModelUnavailableError(f"{repository.label}: {name}: {why}") from None
    folder = blobs.parent / "snapshots" / repository.commit
    for name in names:
        _verify(repository, name, folder / name)
    return folder


def reason_of(error: BaseException) -> str:
    """Why a request to the hub failed, in a few words: what was answered, and the remedy."""
    import requests
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    chain = list(_chain(error))
    log_in = "log in with 'hf auth login' or set HF_TOKEN"
    for kind, words in (
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set"),
        (GatedRepoError, f"access is refused: accept the model's terms on its page, then {log_in}"),
        (RevisionNotFoundError, "no such revision"),
        (RepositoryNotFoundError, f"no such repository, or a private one: {log_in}"),
        (EntryNotFoundError, "no such file"),
    ):
        if any(isinstance(part, kind) and not _is_local(part) for part in chain):
            return words + _status(chain)
    status = _response(chain)
    if status is not None and status.status_code in (401, 403):
        return f"access is refused: {log_in}{_status(chain)}"
    if status is not None and status.status_code == 429:
        return f"too many requests; try again in {_pause_s(status):.0f} s{_status(chain)}"
    if status is not None:
        return f"the hub answers with an error{_status(chain)}"
    if any(isinstance(part, json.JSONDecodeError | KeyError | TypeError | AttributeError) for part in chain):
        return "what answers is no hub: a proxy or a page to log in at, perhaps; see HF_ENDPOINT"
    if any(isinstance(part, requests.exceptions.ChunkedEncodingError) for part in chain):
        return "the connection broke again and again; run it again, the download goes on where it stopped"
    if any(isinstance(part, requests.ConnectionError | requests.Timeout | ConnectionError) for part in chain):
        return "the hub cannot be reached"
    return " ".join(str(error).split())[:200]


def _client(where: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ModelUnavailableError(
            f"{where}: huggingface_hub is not installed (pip install 'embedding-harness[build]')"
        ) from None
    return huggingface_hub


def _remembered(record: Path) -> Repository | None:
    try:
        raw = json.loads(record.read_text(encoding="utf-8"))
        files = {name: RemoteFile(**facts) for name, facts in raw["files"].items()}
        return Repository(str(raw["name"]), str(raw["commit"]), bool(raw["pinned"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _cached(name: str, revision: str | None) -> Path | None:
    """What somebody else left of a repository in the hub's cache."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None


def _as_cached(name: str, folder: Path, *, pinned: bool) -> Repository:
    """A repository of which the hub said nothing, by the files in a snapshot's folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return Repository(name, folder.name, pinned, dict.fromkeys(names, RemoteFile(None, None)))


def _path(repository: Repository, name: str) -> Path | None:
    """A file of the repository in the hub's cache."""
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(repository.name, name, revision=repository.commit)
    return Path(found) if isinstance(found, str) else None


def _require_space(repository: Repository, names: list[str], blobs: Path) -> None:
    """Refuse before the first byte what will not fit.

    Raises:
        StorageError: with what is needed and what is free.
    """
    needed = sum(repository.files[name].size_bytes or 0 for name in names)
    there = next(folder for folder in (blobs, *blobs.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StorageError(
            f"{repository.label}: {format_bytes(needed)} are to be downloaded and {there} has "
            f"{format_bytes(free)} free; free space, or set HF_HUB_CACHE to a directory that has it"
        )


def _reach() -> None:
    """Ask the hub for any answer: the client itself tries a hub that it cannot reach for half a minute.

    Raises:
        OSError: there is none.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    get_session().head(constants.ENDPOINT, timeout=TIMEOUT_S)


def _download(repository: Repository, name: str, blobs: Path, tell: Tell) -> None:
    """One file into the hub's cache, in a thread, while its progress is told.

    A connection that breaks is taken up again; the last try starts from nothing, in case what was kept of
    earlier ones is of no use.
    """
    import requests
    from huggingface_hub import hf_hub_download

    def get(*, anew: bool) -> str:
        path: str = hf_hub_download(
            repository.name, name, revision=repository.commit, etag_timeout=TIMEOUT_S, force_download=anew
        )
        return path

    what = f"downloading {name} of {repository.name}"
    for attempt in range(_TRIES):
        try:
            _patiently(
                lambda: _watched(
                    lambda: get(anew=attempt == _TRIES - 1),  # noqa: B023
                    blobs,
                    repository.files[name].size_bytes,
                    lambda told, left_s: tell(f"{what}{told}", left_s),
                ),
                tell,
            )
        except (OSError, ValueError) as error:
            broke = any(isinstance(part, requests.exceptions.ChunkedEncodingError) for part in _chain(error))
            if attempt == _TRIES - 1 or not (broke or "Consistency check failed" in str(error)):
                raise
            tell(f"{what}: the connection broke, going on", None)
        else:
            return


def _watched(get: Callable[[], _T], blobs: Path, size_bytes: int | None, tell: Tell) -> _T:
    """Run `get` in a thread; tell now and then how much of the file has arrived."""
    result: list[_T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            result.append(get())
        except Exception as error:  # raised again in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    first, started = _arrived(blobs), time.monotonic()
    told = first
    if size_bytes is None or size_bytes >= _TOLD_BYTES:
        tell(f": {_of(first, size_bytes)}", None)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        now, elapsed = _arrived(blobs), time.monotonic() - started
        if size_bytes and now - told >= max(_TOLD_SHARE * size_bytes, _TOLD_BYTES):
            told = now
            tell(f": {_of(now, size_bytes)}", elapsed / (now - first) * max(0, size_bytes - now))
    if errors:
        raise errors[0]
    return result[0]


def _of(arrived: int, size_bytes: int | None) -> str:
    return format_bytes(arrived) + ("" if size_bytes is None else f" of {format_bytes(size_bytes)}")


def _arrived(blobs: Path) -> int:
    """Bytes of the newest unfinished download."""
    sizes = []
    for path in blobs.glob("*.incomplete"):
        with suppress(OSError):  # finished meanwhile
            found = path.stat()
            sizes.append((found.st_mtime_ns, found.st_size))
    return max(sizes, default=(0, 0))[1]


def _patiently(call: Callable[[], _T], tell: Tell) -> _T:
    """Call again where the hub asks for a pause (HTTP 429), as long as it asks for, a few times."""
    for attempt in range(_TRIES):
        try:
            return call()
        except OSError as error:
            response = _response(list(_chain(error)))
            if response is None or response.status_code != 429 or attempt == _TRIES - 1:
                raise
            if (pause_s := _pause_s(response)) > LONGEST_PAUSE_S:
                raise
            tell("the hub asks for a pause", pause_s)
            time.sleep(pause_s)
    raise AssertionError("unreachable")


def _pause_s(response: Any) -> float:
    """Seconds that a response asks to wait: its Retry-After, a number or a date."""
    from email.utils import parsedate_to_datetime

    told = str(response.headers.get("Retry-After", "")).strip()
    if re.fullmatch(r"\d{1,9}", told):
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return _PAUSE_S


def _verify(repository: Repository, name: str, path: Path) -> None:
    """Hold a file against the hashes that the hub told: in its list, and as the name of the cached blob.

    A blob is named by the file's ETag: the sha256 of a large file, git's own sha1 of a small one.

    Raises:
        ArtifactError: it is another file; it is removed, so that the next try downloads it anew.
    """
    blob = path.resolve()
    listed = repository.files[name]
    told = {listed.sha256} if listed.sha256 is not None else set()
    if _SHA256.fullmatch(blob.name):
        told.add(blob.name)
    found = {file_sha256(path)} if told else set()
    small = {blob.name} if is_commit(blob.name) else set()  # git's hashes look alike
    if listed.sha256 is None and listed.git_sha1 is not None:
        small.add(listed.git_sha1)
    if small:
        told |= small
        found.add(_git_sha1(path))
    if told != found:
        for file in (path, blob):
            file.unlink(missing_ok=True)
        raise ArtifactError(
            f"{name} from {repository.label} has hash {', '.join(sorted(found))}, the hub told "
            f"{', '.join(sorted(told))}: it was damaged on its way and is removed; run it again"
        )


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(chain: list[BaseException]) -> Any:
    """The hub's answer that an error is about; None where there was none."""
    return next((found for part in chain if (found := getattr(part, "response", None)) is not None), None)


def _status(chain: list[BaseException]) -> str:
    response = _response(chain)
    return "" if response is None else f" (HTTP {response.status_code})"


def _is_local(error: BaseException) -> bool:
    """Whether it says only that the file is not cached, which is told apart."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return isinstance(error, LocalEntryNotFoundError)


def _not_cached(error: BaseException) -> str:
    """The first half of a reason, where nothing was answered."""
    return "" if _response(list(_chain(error))) is not None else "not in the local cache, and "
