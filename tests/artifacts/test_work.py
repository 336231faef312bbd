"""Operations and bytes, counted from shapes, against sums done by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.artifacts.anatomy import load_graph
from harness.artifacts.shapes import infer_shapes
from harness.artifacts.work import Polynomial, flops_of_a_text, work
from harness.config import load_model
from tests.artifacts.graphs import (
    FLOAT,
    IDS,
    INT8,
    INT64,
    UINT8,
    decoder_layers,
    embedder,
    loop,
    model,
    node,
    numbers,
    port,
    weight,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto, NodeProto, TensorProto

    from harness.artifacts.manifest import Artifact

STATES = port("x", [*IDS, 16])
MS = "com.microsoft"


def one(made: NodeProto, *weights: TensorProto, states: Any = STATES) -> ModelProto:
    """A graph of one node."""
    outputs = [port(name, None) for name in made.output if name][:1]
    return model([made], [port("attention_mask", IDS, INT64), states], outputs, weights)


def flops(made: ModelProto, batch_size: int = 2, tokens: int = 5) -> int | None:
    return work(made, batch_size=batch_size, tokens=tokens).flops


def test_minilm_at_12_tokens_takes_what_its_layers_take_by_hand(minilm: Artifact) -> None:
    made = load_graph(minilm.graph)
    params = 6 * (4 * 384 * 384 + 2 * 384 * 1536)  # q, k, v, output; up, down
    attention = 6 * 2 * (2 * 12 * 12 * 384)  # scores, and the values they weigh
    pooling = 2 * 12 * 384
    assert flops(made, 1, 12) == 2 * params * 12 + attention + pooling
    assert flops_of_a_text(made) == Polynomial(0, 2 * params + 2 * 384, 6 * 4 * 384)
    assert flops(made, 4, 12) == 4 * (flops(made, 1, 12) or 0)


def test_qwen3_takes_what_its_configuration_says() -> None:
    config = load_model("qwen3")
    layers, hidden, heads = config.layers or 0, config.hidden or 0, config.heads or 0
    kv_heads, size, ffn = 8, 128, 3072
    made = decoder_layers(layers, hidden, heads, kv_heads, size, ffn, config.vocab_size or 0)
    params = layers * (2 * hidden * heads * size + 2 * hidden * kv_heads * size + 3 * hidden * ffn)
    assert layers == 28
    assert flops_of_a_text(made) == Polynomial(0, 2 * params, layers * 4 * heads * size)
    assert params == pytest.approx(595.8e6 - 155.3e6, rel=1e-3)  # all but the token table and the norms


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (one(node("MatMul", "x w", "y"), weight("w", 16, 24)), 2 * 10 * 16 * 24),
        (one(node("MatMul", "x w", "y"), weight("w", 16)), 2 * 10 * 16),
        (
            one(node("Gemm", "x w", "y", transB=1), weight("w", 24, 16),
                states=port("x", ["batch_size", 16])),
            2 * 2 * 16 * 24,
        ),
        (
            one(node("MatMulInteger", "x w", "y"), weight("w", 16, 24, dtype=np.int8),
                states=port("x", [*IDS, 16], UINT8)),
            2 * 10 * 16 * 24,
        ),
        (one(node("FusedMatMul", "x w", "y", MS, transB=1), weight("w", 24, 16)), 2 * 10 * 16 * 24),
        (
            one(node("DynamicQuantizeMatMul", "x w s", "y", MS), weight("w", 16, 24, dtype=np.int8),
                weight("s", 24)),
            2 * 10 * 16 * 24,
        ),
        (
            one(node("MatMulNBits", "x w s", "y", MS, K=16, N=24, bits=4, block_size=16),
                weight("w", 24, 1, 8, dtype=np.uint8), weight("s", 24)),
            2 * 10 * 16 * 24,
        ),
        (
            one(node("Attention", "x w b", "y", MS, num_heads=4), weight("w", 16, 48), weight("b", 48)),
            2 * 10 * 16 * 48 + 2 * (2 * 2 * 5 * 5 * 16),
        ),
        (one(node("MultiHeadAttention", "x x x", "y", MS, num_heads=4)), 2 * (2 * 2 * 5 * 5 * 16)),
        (
            one(node("GroupQueryAttention", "x - - - -", "y", MS, num_heads=2, kv_num_heads=1)),
            2 * (2 * 2 * 5 * 5 * 8),  # packed: of 16 wide, 8 are the queries
        ),
        (one(node("Relu", "x", "y")), 0),
    ],
    ids=lambda made: None if isinstance(made, int) else made.graph.node[0].op_type,
)  # fmt: skip
def test_an_operator_takes_what_it_takes_by_hand(made: ModelProto, expected: int) -> None:
    assert flops(made) == expected


def test_fused_operators_hand_their_shapes_on() -> None:
    nodes = [
        node("Attention", "x w b", "attended", MS, num_heads=4),
        node("SkipLayerNormalization", "attended x gamma", "normed - - summed", MS),
        node("BiasGelu", "normed bias", "active", MS),
        node("MatMul", "active dense", "y"),
    ]
    weights = [weight("w", 16, 48), weight("b", 48), weight("gamma", 16), weight("bias", 16),
               weight("dense", 16, 3)]  # fmt: skip
    made = model(nodes, [port("attention_mask", IDS, INT64), STATES], [port("y", None)], weights)
    known = infer_shapes(made, batch_size=2, tokens=5)
    assert [known[name].shape for name in ("normed", "summed", "active", "y")] == [(2, 5, 16)] * 3 + [
        (2, 5, 3)
    ]


@pytest.mark.parametrize(
    "made",
    [
        one(node("Einsum", "x x", "y", equation="bij,bij->b")),
        one(node("Thing", "x", "y", "org.example")),
        one(node("MoE", "x w", "y", MS), weight("w", 16, 16)),
        one(node("MatMul", "x w", "y"), weight("w", 16, 24), states=port("x", ["what", "ever", 16])),
    ],
    ids=["einsum", "foreign", "experts", "unknown shape"],
)
def test_what_cannot_be_counted_makes_the_sum_unknown_never_smaller(made: ModelProto) -> None:
    found = work(made, batch_size=1, tokens=4)
    assert found.flops is None
    assert len(found.uncounted) == 1
    assert flops_of_a_text(made) is None


def test_a_product_once_a_text_is_the_constant() -> None:
    nodes = [node("ReduceMean", "x axis", "pooled", keepdims=0), node("MatMul", "pooled w", "y")]
    states = [port("attention_mask", IDS, INT64), STATES]
    made = model(nodes, states, [port("y", None)], [weight("w", 16, 3), numbers("axis", 1)])
    assert flops_of_a_text(made) == Polynomial(2 * 16 * 3, 0, 0)


def test_shape_arithmetic_is_computed_along_the_way() -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape start end", "head"),
        node("Concat", "head rest", "wanted", axis=0),
        node("Reshape", "x wanted", "heads"),
        node("Transpose", "heads", "keys", perm=[0, 2, 3, 1]),
        node("Transpose", "heads", "queries", perm=[0, 2, 1, 3]),
        node("MatMul", "queries keys", "scores"),
    ]
    weights = [numbers("start", 0), numbers("end", 2), numbers("rest", 4, 4)]
    made = model(nodes, [port("attention_mask", IDS, INT64), STATES], [port("scores", None)], weights)
    assert infer_shapes(made, batch_size=2, tokens=5)["scores"].shape == (2, 4, 5, 5)


def test_nodes_in_the_wrong_order_are_read_in_the_right_one() -> None:
    made = embedder()
    nodes = list(reversed(made.graph.node))
    expected = flops(made)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    assert flops(made) == expected == 2 * 10 * 8 * 8


def test_weights_are_read_once_and_of_the_table_only_the_rows() -> None:
    found = work(embedder(vocab=1000, hidden=8), batch_size=2, tokens=5)
    axis = 8  # one int64
    assert found.weight_bytes == 10 * 8 * 4 + 8 * 8 * 4 + axis
    assert found.bytes_per_token == (found.weight_bytes + (found.activation_bytes or 0)) / 10


def test_the_past_of_a_causal_export_is_empty() -> None:
    past = port("past_key_values.0.key", ["batch_size", 2, "past_sequence_length", 4])
    mask = port("attention_mask", ["batch_size", "past_sequence_length + sequence_length"], INT64)
    ids = port("input_ids", IDS, INT64)
    made = model([node("Identity", "input_ids", "y")], [ids, mask, past], [port("y", IDS, INT64)])
    known = infer_shapes(made, batch_size=3, tokens=7)
    assert known["past_key_values.0.key"].shape == (3, 2, 0, 4)
    assert known["attention_mask"].shape == (3, 7)


def test_dtypes_of_four_bits_share_bytes() -> None:
    from onnx import TensorProto

    from harness.artifacts.shapes import Tensor

    assert Tensor(TensorProto.INT4, (3, 3)).bytes == 5
    assert Tensor(FLOAT, (3, 3)).bytes == 36
    assert Tensor(INT8, (3, 3)).bytes == 9


@pytest.mark.parametrize("precision", ["fp32-fused", "int8", "int8-weights", "int4-weights"])
def test_a_qwen3_is_as_much_work_at_every_precision(
    twins: Callable[[str, str], Artifact], precision: str
) -> None:
    """The optimiser writes its norms into ONNX's own domain, and angles by position beside the weights."""
    base, other = (load_graph(twins("qwen3", name).graph) for name in ("fp32", precision))
    expected, found = (work(model, batch_size=1, tokens=16) for model in (base, other))
    assert expected.flops is not None
    assert found.flops == pytest.approx(expected.flops, rel=0.01)
    assert found.weight_bytes < 1.1 * expected.weight_bytes, "of the angles only the tokens' own are read"


def test_the_weights_that_a_loop_s_body_reads_are_moved_and_what_flows_within_is_unknown() -> None:
    found = work(loop(), batch_size=1, tokens=8)
    assert (found.flops, found.uncounted) == (None, ("Loop",))
    assert found.weight_bytes == 4 * 8 * 8 + 4 * 8 + 8 + 1
    assert found.activation_bytes is None
