"""The sizes of request that a graph takes: how many places its table has, and which axes are fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.artifacts.graphs import read_graph
from harness.artifacts.inputs import count_positions
from harness.artifacts.sizes import Sizes, sizes_of
from tests.artifacts.graphs import IDS, INT64, model, node, placed, port, weight

if TYPE_CHECKING:
    from pathlib import Path

    from harness.artifacts.manifest import Artifact


@pytest.mark.parametrize(
    ("kind", "positions"), [("bert", 64), ("roberta", 62), ("input", 64), ("kinds", None)]
)
def test_the_places_of_a_table_are_told_however_tokens_are_counted(kind: str, positions: int | None) -> None:
    assert sizes_of(placed(kind)) == Sizes(None, None, positions)


def test_positions_that_are_counted_within_the_graph_are_places_too() -> None:
    made = placed("input")
    count_positions(made)
    assert sizes_of(made).positions == 64


def test_a_fused_look_up_has_the_places_of_its_table() -> None:
    fused = node("EmbedLayerNormalization", "input_ids - words positions", "x kinds", "com.microsoft")
    weights = [weight("words", 50, 8), weight("positions", 32, 8)]
    made = model([fused], [port("input_ids", IDS, INT64)], [port("x", [*IDS, 8])], weights)
    assert sizes_of(made).positions == 32


def test_real_exports_show_theirs(exported: Path, minilm: Artifact) -> None:
    assert sizes_of(read_graph(exported / "model.onnx")) == Sizes(None, None, 64)
    assert sizes_of(read_graph(minilm.graph)) == Sizes(None, None, 512)


@pytest.mark.parametrize("name", ["input_ids", "ids"])
def test_axes_of_a_fixed_size_are_told(name: str) -> None:
    made = model([node("Identity", name, "y")], [port(name, [1, 128], INT64)], [port("y", None, INT64)])
    assert sizes_of(made) == Sizes(1, 128, None)
