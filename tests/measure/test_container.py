"""The limits of a container, from files as the two versions of cgroups write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.measure.container import cpu_quota, memory_limit_bytes, throttled_s

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return root


def test_version_2_is_read(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        **{"cpu-max": "150000 100000\n", "memory-max": "1073741824\n"},
        **{"cpu-stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n"},
    )
    assert (cpu_quota(root), memory_limit_bytes(root), throttled_s(root)) == (1.5, 2**30, 2.5)


def test_version_1_is_read(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        **{"cpu__cpu-cfs_quota_us": "50000\n", "cpu__cpu-cfs_period_us": "100000\n"},
        **{"memory__memory-limit_in_bytes": "2147483648\n"},
        **{"cpu__cpu-stat": "nr_periods 5\nnr_throttled 1\nthrottled_time 1500000000\n"},
    )
    assert (cpu_quota(root), memory_limit_bytes(root), throttled_s(root)) == (0.5, 2**31, 1.5)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu-max": "max 100000\n", "memory-max": "max\n", "cpu-stat": "usage_usec 9\n"},
        {
            "cpu__cpu-cfs_quota_us": "-1\n",
            "cpu__cpu-cfs_period_us": "100000\n",
            "memory__memory-limit_in_bytes": "9223372036854771712\n",
        },
        {"cpu-max": "", "memory-max": "", "cpu-stat": ""},
    ],
    ids=["no files", "version 2 without limits", "version 1 without limits", "empty"],
)
def test_no_limit_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path, **files)
    assert (cpu_quota(root), memory_limit_bytes(root), throttled_s(root)) == (None, None, None)
