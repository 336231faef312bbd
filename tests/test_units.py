"""Units are converted without loss and written for people."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.units import (
    NS_PER_MS,
    NS_PER_S,
    bound_share_text,
    bound_text,
    decimal_text,
    format_bytes,
    format_duration,
    listed,
    ns_to_ms,
    ns_to_s,
    number_in,
    number_text,
    share_text,
)

property_test = settings(deadline=None, max_examples=60, derandomize=True)


def test_nanoseconds_become_milliseconds_and_seconds() -> None:
    assert ns_to_ms(12_345_678) == 12.345678
    assert ns_to_s(1_500_000_000) == 1.5
    assert NS_PER_S == 1_000 * NS_PER_MS == 10**9


@property_test
@given(st.integers(0, 2**52))
def test_a_duration_in_milliseconds_is_a_thousand_times_the_one_in_seconds(ns: int) -> None:
    assert ns_to_ms(ns) == pytest.approx(1_000 * ns_to_s(ns), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (94_371_840, "90.0 MiB"),
        (1024**3, "1.0 GiB"),
        (1200 * 1024**3, "1200.0 GiB"),
    ],
)
def test_bytes_are_written_in_binary_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


@property_test
@given(st.integers(0, 10**14))
def test_written_bytes_are_within_rounding_of_the_count(count: int) -> None:
    number, unit = format_bytes(count).split()
    factor = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}[unit]
    assert abs(float(number) * factor - count) <= 0.0501 * factor


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.4, "59 s"),
        (59.6, "59 s"),
        (60, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3_599, "59 min 59 s"),
        (89.9, "1 min 29 s"),
        (3_599.7, "59 min 59 s"),
        (4_200, "1 h 10 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_duration_is_written_for_a_person(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@property_test
@given(st.floats(0, 10**6))
def test_a_written_duration_never_shows_sixty_of_anything(seconds: float) -> None:
    text = format_duration(seconds)
    parts = re.fullmatch(r"(?:(\d+) h )?(?:(\d+) min)?(?: ?(\d+) s)?", text)
    assert parts is not None, text
    hours, minutes, rest = (int(part or 0) for part in parts.groups())
    assert minutes < 60
    assert rest < 60
    # Hours are written without seconds.
    assert 0 <= seconds - (3_600 * hours + 60 * minutes + rest) < (60 if hours else 1)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, "?"), (0.0, 4, "0"), (12.3456, 4, "12.35"), (12.3456, 3, "12.3"), (0.00005, 4, "5.0e-05"),
        (-0.00005, 4, "-5.0e-05"), (0.0001, 4, "0.0001"), (-12.3456, 3, "-12.3"),
        (12345.67, 4, "12346"), (999.96, 3, "1000"), (-1234.4, 3, "-1234"),
    ],
)  # fmt: skip
def test_a_figure_is_told_in_significant_digits(value: float | None, digits: int, text: str) -> None:
    assert number_text(value, digits) == text


@pytest.mark.parametrize(
    ("value", "digits", "bound", "text"),
    [
        (30.0001, 4, 30.0, "30.0001"), (29.99999, 4, 30.0, "29.99999"), (30.0, 4, 30.0, "30"),
        (0.949996, 4, 0.95, "0.949996"), (0.0100001, 4, 0.01, "0.0100001"), (1.04e-5, 4, 1e-5, "1.04e-05"),
        (-0.0001, 4, 0.0, "-0.0001"), (12345.6, 4, 12346.0, "12345.6"), (41.5, 3, 30.0, "41.5"),
    ],
)  # fmt: skip
def test_a_figure_beside_its_bound_is_told_in_as_many_digits_as_tell_its_side(
    value: float, digits: int, bound: float, text: str
) -> None:
    assert number_text(value, digits, beside=(bound,)) == text


def test_what_is_not_all_is_never_told_as_all_nor_what_is_some_as_none() -> None:
    assert [number_text(v) for v in (0.99996, 0.999996, 0.9999999, 1.0, -0.99999)] == [
        "0.9999",
        "0.9999",
        "1",
        "1",
        "-0.9999",
    ]
    assert [decimal_text(v, 2) for v in (0.9996, 1.0, 0.004, -1e-13, 0.0)] == [
        "0.99", "1.00", "0.004", "-1.0e-13", "0.00",
    ]  # fmt: skip
    assert [share_text(v) for v in (0.996, 1.0, 0.004, 0.0, 1.25)] == ["99%", "100%", "0.4%", "0%", "125%"]
    assert share_text(0.9996, 1) == "99.9%"
    assert share_text(0.4999, beside=(0.5,)) == "49.99%"
    assert share_text(float("inf"), 1, beside=(0.9,)) == "inf%"


@property_test
@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.integers(1, 6))
def test_no_figure_is_told_on_another_side_of_a_bound(value: float, bound: float, digits: int) -> None:
    for shown in (number_text(value, digits, beside=(bound,)), decimal_text(value, digits, beside=(bound,))):
        assert (float(shown) > bound, float(shown) < bound) == (value > bound, value < bound)
        assert (abs(float(shown)) < 1, float(shown) == 0) == (abs(value) < 1, value == 0)


def test_a_bound_is_told_exactly() -> None:
    assert [bound_text(v) for v in (30.0, 0.95, 1e-5, 100 / 6)] == [
        "30",
        "0.95",
        "1e-05",
        "16.666666666666668",
    ]
    assert [bound_share_text(v) for v in (0.8, 0.975, 0.55, 1.0)] == ["80%", "97.5%", "55%", "100%"]


@pytest.mark.parametrize("text", ["12", "-0.5", " 4.50 ", "+3", ".5", "5.", "1e3", "2.5E-3", "007"])
def test_a_number_in_plain_decimals_is_what_python_reads(text: str) -> None:
    assert number_in(text) == float(text)


@pytest.mark.parametrize(
    "text", ["1_0", "nan", "inf", "-Infinity", "1e999", "٣", "４", "0x10", "", ".", "4,5"]
)
def test_what_python_alone_takes_for_a_number_is_none(text: str) -> None:
    assert number_in(text) is None


def test_of_many_names_the_first_are_told_and_how_many_more_there_are() -> None:
    assert (listed([]), listed(["a"]), listed(["a", "b"])) == ("", "a", "a, b")
    assert listed([*"abcdefgh"]) == "a, b, c, d, e, f, g, h"
    assert listed([*"abcdefghij"]) == "a, b, c, d, e, f, g, h and 2 more"
