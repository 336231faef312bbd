"""The number of parameters is the model's own, whatever its graph keeps them in."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.artifacts.graphs import read_graph
from harness.artifacts.manifest import GRAPH
from harness.artifacts.parameters import count_parameters
from harness.artifacts.precision import derive, settings_of
from harness.config import load_precision
from tests.artifacts.graphs import IDS, INT8, hollow, model, node, port, weight
from tests.artifacts.test_twin import QWEN3
from tests.artifacts.tiny import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from onnx import NodeProto, TensorProto

    from harness.artifacts.manifest import Artifact

DERIVED = ("fp32-fused", "fp16", "int8", "int8-weights", "int4-weights")


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own() -> Iterator[None]:
    """What the conversions tell of each node is for nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("precision", DERIVED)
def test_a_bert_has_its_parameters_at_every_precision(
    tinies: Path, told: dict[str, Any], tmp_path: Path, precision: str
) -> None:
    derive(tinies / "wrong", tmp_path, settings_of(load_precision(precision)), "bert")
    unused = HIDDEN * (HIDDEN + 1)  # the pooler, which no embedding is computed by
    for folder in (tinies / "wrong", tmp_path):
        assert count_parameters(read_graph(folder / GRAPH)) == told["built"]["wrong"]["params"] - unused


@pytest.mark.parametrize("precision", ["fp32", *DERIVED])
def test_a_qwen3_has_its_parameters_at_every_precision(
    twins: Callable[[str, str], Artifact], precision: str
) -> None:
    artifact = twins("qwen3", precision)
    again = 4 * 32 + 3 * 8  # norms of ones, which an export keeps once
    assert count_parameters(read_graph(artifact.graph)) == QWEN3 - again
    assert artifact.manifest.params == QWEN3


@pytest.mark.parametrize(
    ("made", "weights", "expected"),
    [
        (node("DequantizeLinear", "w s z", "y"),
         [weight("w", 8, 4, dtype=np.int8), weight("s", 4), weight("z", 4, dtype=np.int8)], 32),
        (node("DequantizeLinear", "w s", "y"), [weight("w", 8, dtype=np.int32), weight("s", 8)], 8),
        (node("MatMulIntegerToFloat", "x w xs ws - z b", "y", "com.microsoft"),
         [hollow("w", 8, 4, dtype=INT8), weight("ws", 4), weight("z", 4, dtype=np.int8), weight("b", 4)], 36),
        (node("MatMulNBits", "x w s - - b", "y", "com.microsoft", K=16, N=24, bits=4, block_size=16),
         [weight("w", 24, 1, 8, dtype=np.uint8), weight("s", 24), weight("b", 24)], 17 * 24),
        (node("GatherBlockQuantized", "w x s", "y", "com.microsoft", bits=4),
         [weight("w", 30, 8, dtype=np.uint8), weight("s", 30, 1)], 30 * 16),
        (node("Mul", "x w", "y"), [weight("w"), weight("floor", 1), weight("ids", 7, dtype=np.int64)], 0),
    ],
    ids=["by column", "a bias", "fused", "by blocks", "a table", "constants"],
)  # fmt: skip
def test_what_stands_beside_weights_is_none(
    made: NodeProto, weights: list[TensorProto], expected: int
) -> None:
    graph = model([made], [port("x", [*IDS, 8])], [port("y", None)], weights)
    assert count_parameters(graph) == expected
