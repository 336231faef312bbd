"""The doctor looks at everything and tells it in a line each."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from harness import doctor
from harness.errors import BadInputError
from harness.locks import hold
from harness.measure.disturbance import Conditions
from harness.measure.limits import Peaks

if TYPE_CHECKING:
    from pathlib import Path


class _Machine:
    """A watch that saw what the test says."""

    conditions = Conditions()

    def stop(self) -> Conditions:
        return self.conditions


def watched(patch: pytest.MonkeyPatch, rates: list[float], conditions: Conditions) -> dict[str, str]:
    """What is told of a machine with these capacities and conditions: remedies by finding."""
    turn = iter(rates * 1000)
    patch.setattr(doctor, "capacity_gflops", lambda: next(turn))
    patch.setattr(doctor, "known_peaks", lambda threads: Peaks(threads, 110.0, 10.0))
    patch.setattr(doctor, "Watch", type("Scripted", (_Machine,), {"conditions": conditions}))
    return {finding.what: finding.remedy for finding in doctor.noise(0.5)}


@pytest.mark.usefixtures("peaks_known")
def test_every_execution_provider_and_the_noise_get_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["seconds=0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for what in ("machine", "cores", "memory", "onnxruntime", "ep=cpu", "ep=coreml", "timer", "capacity"):
        assert sum(line[2:].startswith(f"{what} ") for line in lines) == 1


def test_the_peaks_are_told_as_the_look_at_noise_left_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "measuring_lock_path", lambda: tmp_path / "measuring.lock")
    highest = [77.0]
    monkeypatch.setattr(doctor, "machine_peaks", lambda _threads, *, force: None)
    monkeypatch.setattr(doctor, "capacity_gflops", lambda: 255.0)
    monkeypatch.setattr(doctor, "saw_gflops", lambda _threads, gflops: highest.append(gflops))
    monkeypatch.setattr(doctor, "known_peaks", lambda threads: Peaks(threads, max(highest), 10.0))
    found = {finding.what: finding.found for finding in doctor.findings(0.5)}
    assert found["peaks"].startswith("255 GFLOP/s")


def test_noise_is_not_looked_for_while_somebody_measures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "measuring.lock"
    monkeypatch.setattr(doctor, "measuring_lock_path", lambda: lock)
    looked = threading.Event()
    with hold(lock, lambda _who: None):
        thread = threading.Thread(target=lambda: (list(doctor.findings(0.5)), looked.set()))
        thread.start()
        assert not looked.wait(2.5)
    assert looked.wait(30)
    thread.join()
    assert capsys.readouterr().err.endswith("is measuring\n")


def test_a_provider_is_told_as_in_the_build_and_an_absent_one_names_its_wheel(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor.main(["seconds=0.5"])
    told = {line[2:20].strip(): line[21:] for line in capsys.readouterr().out.splitlines()}
    assert told["ep=cpu"] == "in this build; a run tells whether it loads"
    assert told["ep=cuda"] == "not in this build; it comes with onnxruntime-gpu"


@pytest.mark.parametrize(
    ("free_gib", "limit_gib", "told", "little"),
    [
        (None, None, "20.0 GiB free of 24.0 GiB", False),
        (0.5, 1, "512.0 MiB free of 24.0 GiB, limited to 1.0 GiB by the container", True),
    ],
)
def test_the_memory_told_is_what_the_container_s_limit_leaves(
    monkeypatch: pytest.MonkeyPatch, free_gib: float | None, limit_gib: float | None, told: str, little: bool
) -> None:
    def size(gib: float | None) -> int | None:
        return None if gib is None else round(gib * 2**30)

    memory = SimpleNamespace(available=size(20), total=size(24))
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(doctor.container, "memory_free_bytes", lambda: size(free_gib))
    monkeypatch.setattr(doctor.container, "memory_limit_bytes", lambda: size(limit_gib))
    finding = doctor._memory()
    assert (finding.found, bool(finding.remedy)) == (told, little)


def test_a_quiet_machine_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Conditions(other_cpu_share=0.01, steal_share=0.0)
    assert set(watched(monkeypatch, [100.0, 98.0], quiet).values()) == {""}


@pytest.mark.parametrize(
    ("rates", "conditions", "what"),
    [
        ([100.0, 40.0], Conditions(other_cpu_share=0.0, steal_share=0.0), "capacity"),
        ([60.0, 58.0], Conditions(other_cpu_share=0.0, steal_share=0.0), "capacity"),
        ([100.0], Conditions(other_cpu_share=0.5, steal_share=0.0), "other processes"),
        ([100.0], Conditions(other_cpu_share=0.0, steal_share=0.2), "stolen time"),
    ],
)
def test_each_kind_of_noise_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch, rates: list[float], conditions: Conditions, what: str
) -> None:
    remedies = watched(monkeypatch, rates, conditions)
    assert [name for name, remedy in remedies.items() if remedy] == [what]


@pytest.mark.parametrize("word", ["seconds=0", "seconds=abc", "second=3", "3"])
def test_a_wrong_word_is_bad_input(word: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        doctor.main([word])
