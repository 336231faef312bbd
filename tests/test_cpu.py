"""What a CPU says of itself decides how 8-bit weights are quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import cpu

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("machine", "flags", "overflow"),
    [
        ("x86_64", "fpu avx2 avx512f avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni", False),
        ("AMD64", "", True),  # a system that tells no flags
        ("x86_64", "fpu sse4_2 avx2 fma", True),
        ("x86_64", "fpu avx2 avx512f avx512bw", True),
        ("aarch64", "fp asimd asimddp i8mm", False),
        ("aarch64", "fp asimd", False),
        ("arm64", "", False),  # a Mac tells no flags
    ],
    ids=["AVX-512 VNNI", "AVX VNNI", "Windows", "AVX2 alone", "AVX-512 alone", "Arm", "older Arm", "Mac"],
)
def test_sums_of_8_bit_products_overflow_on_x86_without_vnni(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, overflow: bool
) -> None:
    monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
    monkeypatch.setattr(cpu, "cpuinfo", lambda: {"flags": flags} if flags else {})
    assert cpu.int8_sums_overflow() is overflow


def test_the_first_core_s_fields_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = "processor\t: 0\nflags\t\t: fpu avx2\nmodel name: A: B\n\nprocessor\t: 1\nflags: other\n"
    (tmp_path / "cpuinfo").write_text(content, encoding="utf-8")
    monkeypatch.setattr(cpu, "Path", lambda _: tmp_path / "cpuinfo")
    assert cpu.cpuinfo() == {"processor": "0", "flags": "fpu avx2", "model name": "A: B"}


def test_a_system_without_the_file_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu, "Path", lambda _: tmp_path / "none")
    assert cpu.cpuinfo() == {}
