"""The limits of a process's own control groups, from files as the two versions of cgroups write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.measure.container import cpu_quota, memory_free_bytes, memory_limit_bytes, throttled_s

if TYPE_CHECKING:
    from pathlib import Path

V2 = "0::/pod/job\n"
V1 = "4:memory:/pod/job\n2:cpuacct,cpu:/pod/job\n1:name=systemd:/elsewhere\n"


def limits(folder: Path, own: str, files: dict[str, str]) -> tuple[float | None, int | None, float | None]:
    """What is told of a process that is in `own`, where /sys/fs/cgroup holds these files."""
    root, process = folder / "cgroup", folder / "self"
    process.write_text(own, encoding="ascii")
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    read = (root, process)
    return cpu_quota(*read), memory_limit_bytes(*read), throttled_s(*read)


def test_version_2_is_read_of_the_process_s_own_group(tmp_path: Path) -> None:
    files = {
        "pod/job/cpu.max": "150000 100000\n",
        "pod/job/memory.max": "1073741824\n",
        "pod/job/cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n",
        "pod/other/cpu.max": "1000 100000\n",
        "pod/other/memory.max": "1\n",
        "pod/other/cpu.stat": "throttled_usec 9000000\n",
    }
    assert limits(tmp_path, V2, files) == (1.5, 2**30, 2.5)


def test_version_1_is_read_of_the_process_s_own_group(tmp_path: Path) -> None:
    files = {
        "cpu/pod/job/cpu.cfs_quota_us": "50000\n",
        "cpu/pod/job/cpu.cfs_period_us": "100000\n",
        "memory/pod/job/memory.limit_in_bytes": "2147483648\n",
        "cpu/pod/job/cpu.stat": "nr_periods 5\nnr_throttled 1\nthrottled_time 1500000000\n",
        "cpu/elsewhere/cpu.cfs_quota_us": "1000\n",
        "cpu/elsewhere/cpu.cfs_period_us": "100000\n",
    }
    assert limits(tmp_path, V1, files) == (0.5, 2**31, 1.5)


@pytest.mark.parametrize("narrow", ["pod", "pod/job"])
def test_the_narrowest_of_nested_limits_counts(tmp_path: Path, narrow: str) -> None:
    files = {}
    for group in ("pod", "pod/job"):
        files[f"{group}/cpu.max"] = "50000 100000" if group == narrow else "400000 100000"
        files[f"{group}/memory.max"] = "1000" if group == narrow else "max"
        files[f"{group}/cpu.stat"] = f"throttled_usec {2_000_000 if group == narrow else 0}"
    assert limits(tmp_path, V2, files) == (0.5, 1000, 2.0)


@pytest.mark.parametrize(
    "own",
    ["0::/\n", "0::/host/path/of/the/container\n", "0::/../beside\n", ""],
    ids=["a namespace of its own", "the host's path", "outside of the namespace", "not told"],
)
def test_what_a_container_has_mounted_is_its_own(tmp_path: Path, own: str) -> None:
    files = {"cpu.max": "200000 100000", "memory.max": "5000", "cpu.stat": "throttled_usec 1000000"}
    assert limits(tmp_path, own, files) == (2.0, 5000, 1.0)


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (V2, {}),
        (V2, {"pod/cpu.max": "max 100000\n", "pod/memory.max": "max\n", "cpu.stat": "usage_usec 9\n"}),
        (
            V1,
            {
                "cpu/pod/job/cpu.cfs_quota_us": "-1\n",
                "cpu/pod/job/cpu.cfs_period_us": "100000\n",
                "memory/pod/job/memory.limit_in_bytes": "9223372036854771712\n",
            },
        ),
        (V2, {"cpu.max": "", "memory.max": "", "cpu.stat": ""}),
    ],
    ids=["no files", "version 2 without limits", "version 1 without limits", "empty"],
)
def test_no_limit_is_none(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert limits(tmp_path, own, files) == (None, None, None)


@pytest.mark.parametrize(
    ("own", "files", "free"),
    [
        (V2, {"pod/job/memory.max": "8000", "pod/job/memory.current": "7500"}, 500),
        (
            V2,
            {
                "pod/job/memory.max": "8000",
                "pod/job/memory.current": "7500",
                "pod/job/memory.stat": "anon 100\ninactive_file 3000\n",
            },
            3500,
        ),
        (
            V2,
            {
                "pod/memory.max": "9000",
                "pod/memory.current": "8900",
                "pod/job/memory.max": "8000",
                "pod/job/memory.current": "10",
            },
            100,
        ),
        (V2, {"pod/job/memory.max": "8000", "pod/job/memory.current": "9000"}, 0),
        (V2, {"pod/job/memory.max": "max", "pod/job/memory.current": "9000"}, None),
        (
            V1,
            {
                "memory/pod/job/memory.limit_in_bytes": "8000",
                "memory/pod/job/memory.usage_in_bytes": "7000",
                "memory/pod/job/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
            },
            3000,
        ),
    ],
    ids=["used", "cache that can go", "by the outer group", "over it", "no limit", "version 1"],
)
def test_what_a_group_holds_is_not_free(
    tmp_path: Path, own: str, files: dict[str, str], free: int | None
) -> None:
    limits(tmp_path, own, files)
    assert memory_free_bytes(tmp_path / "cgroup", tmp_path / "self") == free
