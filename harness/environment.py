"""The machine and the software that a figure belongs to."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from harness import __version__
from harness.cpu import cpuinfo
from harness.measure import container
from harness.measure.resources import cores_of_a_launch

# Versions that change what is measured; part of a run's identity.
_MEASURING = ("tokenizers", "numpy")
# Wheels that all install the module onnxruntime: of several, the last one that was installed is loaded.
_ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml",
                 "onnxruntime-qnn", "onnxruntime-webgpu")  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """A fingerprint.

    `machine_id` is made of the hardware and the host's own id: it survives a reboot, another clock speed, an
    upgrade.
    """

    machine_id: str
    cpu: str
    cores: int
    memory_bytes: int
    os: str
    python: str
    onnxruntime: str | None
    libraries: dict[str, str]
    builds: dict[str, str]
    container_cpus: float | None
    container_memory_bytes: int | None
    physical_cores: int | None
    virtual: bool | None
    governor: str | None
    harness_version: str
    git_commit: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the record."""
        return asdict(self)


@cache
def fingerprint() -> Environment:
    """This machine's fingerprint; read once a process."""
    cpu, memory = _cpu_name(), psutil.virtual_memory().total
    libraries = {name: found for name in _MEASURING if (found := _version(name))}
    libraries["harness"] = __version__
    if macos := platform.mac_ver()[0]:
        libraries["macos"] = macos  # CoreML comes with it
    if (loaded := _onnxruntime()) is not None:
        libraries["onnxruntime"] = loaded
    return Environment(
        machine_id=_machine_id(cpu, memory),
        cpu=cpu,
        cores=usable_cores(),
        memory_bytes=memory,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        onnxruntime=libraries.get("onnxruntime"),
        libraries=libraries,
        builds=_builds(),
        container_cpus=container.cpu_quota(),
        container_memory_bytes=container.memory_limit_bytes(),
        physical_cores=psutil.cpu_count(logical=False),
        virtual=None if (flags := cpuinfo().get("flags")) is None else "hypervisor" in flags.split(),
        governor=_first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        harness_version=__version__,
        git_commit=_git_commit(),
    )


def is_held() -> bool:
    """Whether this process may use fewer cores than the machine has: ``taskset``, or a container's cpuset."""
    return usable_cores() < (os.cpu_count() or 1)


def usable_cores() -> int:
    """Cores that this process may use: by affinity where the system tells it, else all logical ones."""
    cores = cores_of_a_launch()
    return (os.cpu_count() or 1) if cores is None else len(cores)


def _machine_id(cpu: str, memory_bytes: int) -> str:
    """CPU model, logical cores, memory in GiB, architecture, system and the host's own id, hashed.

    What is told is the physical size less what firmware and kernel keep, which differs from boot to boot:
    it is rounded up, so that only a change across a whole GiB makes another machine.
    """
    gib = math.ceil(memory_bytes / 2**30)
    parts = (cpu, os.cpu_count(), gib, platform.machine(), platform.system(), _host_id())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _host_id() -> str | None:
    """What the system calls this one host, of several of its type; None where it has no lasting name for it.

    Linux's stands in a file (man 5 machine-id); where the same stands in /run, it is of this boot alone, and
    before the first boot it is no name yet.
    """
    if platform.system() == "Darwin":
        told = _output("ioreg", "-rd1", "-c", "IOPlatformExpertDevice") or ""
        return found[1] if (found := re.search(r'"IOPlatformUUID" = "([^"]+)"', told)) else None
    lasting, of_this_boot = (_first_line(f"/{place}/machine-id") for place in ("etc", "run"))
    return None if lasting in (of_this_boot, "", "uninitialized") else lasting


def _cpu_name() -> str:
    """The CPU's model with its family and stepping where they are told: clouds share brand names."""
    fields = cpuinfo()
    if "model name" in fields:
        exact = "/".join(fields.get(key, "?") for key in ("cpu family", "model", "stepping"))
        return f"{fields['model name']} ({exact})"
    if "CPU part" in fields:  # Arm tells numbers alone
        return "Arm " + "/".join(
            fields.get(f"CPU {key}", "?") for key in ("implementer", "part", "variant", "revision")
        )
    if platform.system() == "Darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name
    return platform.processor() or platform.machine()


def _builds() -> dict[str, str]:
    """How the interpreter was built, and the versions of what an artifact was or would be made with."""
    made_with = ("torch", "transformers", "optimum", "optimum-onnx", "sentence-transformers", "onnx")
    found = {name: number for name in made_with if (number := _version(name))}
    return {"python": f"{platform.python_implementation()} {platform.python_compiler()}", **found}


def _first_line(file: str) -> str | None:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _git_commit() -> str | None:
    """The commit of the source tree the package runs from, ``-dirty`` if changed; None in an install."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    return _output("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _onnxruntime() -> str | None:
    """The version of the module that is loaded, and the wheels that may have brought it; None without any."""
    try:
        import onnxruntime
    except ImportError:
        return None
    wheels = ", ".join(name for name in _ONNXRUNTIMES if _version(name))
    return f"{onnxruntime.__version__}{f' ({wheels})' if wheels not in ('', 'onnxruntime') else ''}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
