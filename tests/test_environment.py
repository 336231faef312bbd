"""The fingerprint: the same machine stays the same, another one is another."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

import harness
from harness.environment import Environment, fingerprint, usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CPUINFO = Path("/proc/cpuinfo")
A_CPU = """processor : 0
vendor_id : GenuineIntel
cpu family : 6
model : 143
model name : Intel(R) Xeon(R) Processor
stepping : 8
cpu MHz : {mhz}
bogomips : {bogomips}

processor : 1
model name : something else
"""


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    """No test sees what another one made of the machine."""
    fingerprint.cache_clear()
    yield
    fingerprint.cache_clear()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[Path, str | None]:
    """What files of the system say instead of what stands in them; None: there is no such file."""
    original = Path.read_text
    texts: dict[Path, str | None] = {}

    def read(path: Path, *args: str | None, **kwargs: str | None) -> str:
        if (text := texts.get(path, "")) is None:
            raise FileNotFoundError(path)
        return text or original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read)
    return texts


@pytest.fixture
def cpuinfo(said: dict[Path, str | None]) -> Callable[[str], None]:
    """Let /proc/cpuinfo say something else."""

    def say(text: str) -> None:
        said[CPUINFO] = text

    return say


def anew() -> Environment:
    fingerprint.cache_clear()
    return fingerprint()


def test_a_machine_keeps_its_id_from_call_to_call() -> None:
    assert anew().machine_id == anew().machine_id
    assert len(fingerprint().machine_id) == 12


def test_a_machine_keeps_its_id_from_process_to_process() -> None:
    code = "from harness.environment import fingerprint; print(fingerprint().machine_id)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == fingerprint().machine_id


def test_clock_speed_and_load_do_not_make_another_machine(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: Callable[[str], None]
) -> None:
    ids = set()
    for mhz in (800, 3600):
        cpuinfo(A_CPU.format(mhz=mhz, bogomips=mhz * 2))
        monkeypatch.setattr(psutil, "cpu_freq", lambda mhz=mhz, **_: SimpleNamespace(current=mhz, max=mhz))
        monkeypatch.setattr(psutil, "cpu_percent", lambda mhz=mhz, **_: mhz / 40)
        monkeypatch.setattr(os, "getloadavg", lambda mhz=mhz: (mhz, mhz, mhz))
        ids.add(anew().machine_id)
    assert len(ids) == 1


def test_free_memory_and_what_the_kernel_keeps_of_it_do_not_make_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = set()
    for kept_mib, free in ((300, 1), (310, 8 * 2**30), (520, 1)):
        total = 16 * 2**30 - kept_mib * 2**20
        memory = SimpleNamespace(total=total, available=free, free=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        ids.add(anew().machine_id)
    assert len(ids) == 1


def test_an_upgrade_does_not_make_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = anew()
    monkeypatch.setattr("onnxruntime.__version__", "99.0")
    monkeypatch.setattr(platform, "release", lambda: "99.0-another-kernel")
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    after = anew()
    assert after.machine_id == before.machine_id
    assert (after.python, after.onnxruntime, "99.0-another-kernel" in after.os) == ("3.99.0", "99.0", True)


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
@pytest.mark.parametrize(
    ("found", "other"),
    [("8 \n", "9 \n"), ("Xeon(R) Processor", "Xeon(R) Gold"), ("model : 143", "model : 106")],
)
def test_another_cpu_is_another_machine(cpuinfo: Callable[[str], None], found: str, other: str) -> None:
    text = A_CPU.replace("stepping : 8\n", "stepping : 8 \n")
    assert found in text
    cpuinfo(text)
    one = anew()
    cpuinfo(text.replace(found, other))
    two = anew()
    assert one.cpu != two.cpu
    assert one.machine_id != two.machine_id


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
def test_arm_machines_are_told_apart_by_the_numbers_of_their_parts(cpuinfo: Callable[[str], None]) -> None:
    arm = "processor : 0\nCPU implementer : 0x41\nCPU variant : 0x3\nCPU part : {part}\nCPU revision : 1\n"
    found = {}
    for part in ("0xd0c", "0xd4f"):
        cpuinfo(arm.format(part=part))
        found[anew().machine_id] = anew().cpu
    assert list(found.values()) == ["Arm 0x41/0xd0c/0x3/1", "Arm 0x41/0xd4f/0x3/1"]


def test_other_cores_or_memory_are_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {anew().machine_id}
    with monkeypatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1024)
        ids.add(anew().machine_id)
    with monkeypatch.context() as patch:
        memory = SimpleNamespace(total=psutil.virtual_memory().total + 8 * 2**30)
        patch.setattr(psutil, "virtual_memory", lambda: memory)
        ids.add(anew().machine_id)
    assert len(ids) == 3


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /etc/machine-id")
def test_two_hosts_of_one_type_are_two_machines_each_the_same_after_a_reboot(
    said: dict[Path, str | None],
) -> None:
    ids = []
    for host in ("a" * 32, "b" * 32, "a" * 32):
        said.update({Path("/etc/machine-id"): f"{host}\n", Path("/run/machine-id"): None})
        ids.append(anew().machine_id)
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /etc/machine-id")
def test_a_host_id_of_one_boot_does_not_make_another_machine_after_the_next(
    said: dict[Path, str | None],
) -> None:
    said.update({Path("/etc/machine-id"): None, Path("/run/machine-id"): None})
    ids = {anew().machine_id}
    for boot in ("a" * 32, "b" * 32):
        said.update({Path("/etc/machine-id"): f"{boot}\n", Path("/run/machine-id"): f"{boot}\n"})
        ids.add(anew().machine_id)
    for unset in ("uninitialized\n", "\n"):  # before the first boot
        said.update({Path("/etc/machine-id"): unset, Path("/run/machine-id"): None})
        ids.add(anew().machine_id)
    assert len(ids) == 1


def test_two_macs_of_one_type_are_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    ids = []
    for uuid in ("0A-1", "0B-2", "0A-1"):
        told = f'+-o J316sAP  <class IOPlatformExpertDevice>\n    "IOPlatformUUID" = "{uuid}"\n'
        answers = {"ioreg": told, "sysctl": "Apple M1\n", "git": "v1\n"}

        def answer(
            command: tuple[str, ...], answers: dict[str, str] = answers, **_: object
        ) -> SimpleNamespace:
            return SimpleNamespace(stdout=answers[command[0]])

        monkeypatch.setattr(subprocess, "run", answer)
        ids.append(anew().machine_id)
    assert ids[0] == ids[2] != ids[1]


def test_what_comes_with_macos_is_of_another_version_after_its_upgrade(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for version in ("15.1", "26.0", ""):
        monkeypatch.setattr(platform, "mac_ver", lambda version=version: (version, ("", "", ""), ""))
        found.append(anew().libraries.get("macos"))
    assert found == ["15.1", "26.0", None]


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5}, raising=False)
    assert usable_cores() == anew().cores == 3


def test_a_process_held_to_fewer_cores_is_on_the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = anew().machine_id
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    assert anew().machine_id == before


def test_the_fingerprint_names_the_software_that_measures() -> None:
    found = fingerprint()
    assert {"onnxruntime", "tokenizers", "numpy", "harness"} <= set(found.libraries)
    assert found.libraries["onnxruntime"] == found.onnxruntime
    assert found.libraries["harness"] == found.harness_version == harness.__version__
    assert found.python == platform.python_version()
    assert found.memory_bytes > 2**28


def test_a_machine_without_onnx_runtime_git_or_cpuinfo_still_has_a_fingerprint(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: Callable[[str], None]
) -> None:
    from importlib.metadata import PackageNotFoundError

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    cpuinfo("")
    monkeypatch.setattr("harness.environment.version", version)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv("PATH", "")
    found = anew()
    assert (found.onnxruntime, found.git_commit) == (None, None)
    assert found.cpu


def test_the_commit_of_the_source_tree_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(harness.__file__).parent.parent
    found = fingerprint().git_commit
    if (root / ".git").exists():
        assert found is not None
        assert found.removesuffix("-dirty").isalnum()
    else:
        assert found is None


def test_the_fingerprint_is_plain_values() -> None:
    assert json.loads(json.dumps(fingerprint().to_dict())) == fingerprint().to_dict()


@pytest.mark.parametrize(
    ("wheels", "told"),
    [
        ({"onnxruntime": "1.31.1"}, "1.98.0"),
        ({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.98.0"}, "1.98.0 (onnxruntime, onnxruntime-gpu)"),
        ({"onnxruntime-openvino": "1.98.0"}, "1.98.0 (onnxruntime-openvino)"),
        ({"onnxruntime-migraphx": "1.98.0"}, "1.98.0"),
    ],
)
def test_the_version_is_that_of_the_onnxruntime_that_is_loaded(
    monkeypatch: pytest.MonkeyPatch, wheels: dict[str, str], told: str
) -> None:
    """Of two wheels the one that was installed last owns the module; one may bear another name."""
    monkeypatch.setattr("onnxruntime.__version__", "1.98.0")
    monkeypatch.setattr("harness.environment._version", wheels.get)
    found = fingerprint()
    assert (found.onnxruntime, found.libraries["onnxruntime"]) == (told, told)
