"""Every error carries its exit code and a line that helps."""

from __future__ import annotations

import pytest

from harness.errors import (
    ArtifactError,
    BadInputError,
    EpUnavailableError,
    ExitCode,
    HarnessError,
    InterruptedRunError,
    LengthError,
    ModelUnavailableError,
    ProbeError,
    RuntimeUnavailableError,
    StorageError,
    UnavailableError,
    nearest,
    unknown_name,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HarnessError, 1),
        (BadInputError, 2),
        (LengthError, 2),
        (UnavailableError, 3),
        (ModelUnavailableError, 3),
        (EpUnavailableError, 3),
        (RuntimeUnavailableError, 3),
        (ArtifactError, 3),
        (ProbeError, 3),
        (StorageError, 5),
        (InterruptedRunError, 130),
    ],
)
def test_each_error_has_the_exit_code_of_the_contract(error: type[HarnessError], code: int) -> None:
    raised = error("what, which value, and the remedy")
    assert raised.exit_code == code
    assert str(raised) == "what, which value, and the remedy"
    assert isinstance(raised, HarnessError if code != 130 else KeyboardInterrupt)


def test_every_error_class_is_covered_above() -> None:
    def below(error: type[HarnessError]) -> set[type[HarnessError]]:
        return {error}.union(*(below(child) for child in error.__subclasses__()))

    ours = {error.__name__ for error in below(HarnessError) if error.__module__ == "harness.errors"}
    assert ours == {
        "HarnessError",
        "BadInputError",
        "LengthError",
        "UnavailableError",
        "ModelUnavailableError",
        "EpUnavailableError",
        "RuntimeUnavailableError",
        "ArtifactError",
        "ProbeError",
        "StorageError",
    }


def test_the_exit_codes_are_those_of_the_contract() -> None:
    contract = {
        "OK": 0,
        "DEFECT": 1,
        "BAD_INPUT": 2,
        "UNAVAILABLE": 3,
        "LAUNCH_FAILED": 4,
        "CONDITIONAL_GO": 10,
        "NO_GO": 11,
        "INCONCLUSIVE": 12,
        "INTERRUPTED": 130,
    }
    assert contract.items() <= {code.name: code.value for code in ExitCode}.items()
    assert len({code.value for code in ExitCode}) == len(ExitCode)


def test_bad_input_keeps_every_problem_as_a_line_of_its_own() -> None:
    error = BadInputError("batch_size=0: must be at least 1", "threads=x: not a whole number")
    assert error.problems == ("batch_size=0: must be at least 1", "threads=x: not a whole number")
    assert str(error).splitlines() == list(error.problems)


def test_the_nearest_names_come_closest_first() -> None:
    assert nearest("minilmm", ["e5", "minilm", "minlm"]) == ["minilm", "minlm"]
    assert nearest("minilm", ["minilm", "e5"]) == ["minilm"]


def test_no_name_is_near_where_none_is() -> None:
    assert nearest("zzzz", ["minilm", "e5"]) == []
    assert nearest("minilm", []) == []


def test_at_most_the_asked_number_of_names_is_suggested() -> None:
    assert len(nearest("tokens_1", [f"tokens_{i}" for i in range(10)])) == 3
    assert len(nearest("tokens_1", [f"tokens_{i}" for i in range(10)], most=1)) == 1


def test_an_unknown_name_is_told_with_the_nearest_valid_one() -> None:
    assert unknown_name("model", "minlm", ["minilm", "e5"]) == "unknown model 'minlm': did you mean minilm?"


def test_an_unknown_name_like_none_is_told_with_all_valid_ones_in_order() -> None:
    assert (
        unknown_name("ep", "xyz", ["cuda", "cpu", "coreml"]) == "unknown ep 'xyz': valid: coreml, cpu, cuda"
    )


def test_a_long_list_of_valid_names_is_not_poured_out() -> None:
    told = unknown_name("key", "zzzzzz", [f"name_{i}" for i in range(21)])
    assert "name_3" not in told
    assert "zzzzzz" in told
    assert "python -m harness --cfg job" in told


def test_a_name_that_is_no_key_is_told_with_the_nearest_however_many_there_are() -> None:
    told = unknown_name("column", "foo", [f"name_{i}" for i in range(21)] + ["food processor plant"])
    assert told.startswith("unknown column 'foo': the nearest are food processor plant")
    assert "--cfg" not in told
