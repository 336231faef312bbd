"""What is read from a graph, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from harness.artifacts.anatomy import Architecture, load_graph, read_anatomy
from harness.artifacts.graphs import embedding_rows
from harness.errors import BadInputError, ExitCode
from tests.artifacts.graphs import (
    FLOAT,
    IDS,
    INT64,
    decoder_layers,
    embedder,
    hollow,
    loop,
    model,
    node,
    numbers,
    port,
    saved,
    weight,
)
from tests.artifacts.test_graphs import with_function

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from harness.artifacts.anatomy import Anatomy
    from harness.artifacts.manifest import Artifact


def read(made: ModelProto, **changes: Any) -> Anatomy:
    return read_anatomy(made, **{"batch_size": 1, "tokens": 4} | changes)


def test_minilm_is_what_it_is(minilm: Artifact) -> None:
    found = read(load_graph(minilm.graph), tokens=128, tokenizer_vocab=30_522)
    assert found.architecture == Architecture(layers=6, hidden=384, heads=12, ffn=1536, vocab_size=30_522)
    assert found.opsets == {"ai.onnx": 18}
    # All parameters of the model but its pooler: 384 × 384 + 384.
    assert found.parameters == minilm.manifest.params - (384 * 384 + 384)
    assert found.embedding_parameters == 30_522 * 384
    assert found.embedding_share == pytest.approx(0.52, abs=0.005)
    assert found.operators["LayerNormalization"] == 13
    assert list(found.operators.values()) == sorted(found.operators.values(), reverse=True)
    assert sum(found.operators.values()) == found.nodes
    assert {(p.name, p.dtype, p.dims) for p in found.inputs} == {
        (name, "int64", ("batch_size", "sequence_length"))
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert [(p.name, p.dtype, p.dims) for p in found.outputs] == [
        ("sentence_embedding", "float", ("batch_size", 384))
    ]
    assert found.dynamic_axes == ("batch_size", "sequence_length")
    assert found.initializer_bytes["float"] == 4 * (found.parameters + 2), "pooling's two floors"
    assert found.largest_dim == 30_522
    assert (found.external_files, found.external_bytes) == ((), 0)
    assert found.warnings == ()


def test_a_grouped_query_decoder_shows_its_query_heads_and_its_feed_forward() -> None:
    found = read(decoder_layers(2, 64, 4, 2, 32, 192, 500))
    assert found.architecture == Architecture(layers=2, hidden=64, heads=4, ffn=192, vocab_size=500)
    assert found.external_files == ("weights.bin",)
    assert found.external_bytes == 4 * found.parameters


def test_a_token_table_may_be_narrower_than_the_model() -> None:
    nodes = [node("Gather", "table input_ids", "x"), node("MatMul", "x up", "a")]
    nodes += [node("MatMul", f"{x} dense", y) for x, y in zip("abc", "bcd", strict=True)]
    weights = [weight("table", 30, 4), weight("up", 4, 8), weight("dense", 8, 8)]
    made = model(nodes, [port("input_ids", IDS, INT64)], [port("d", [*IDS, 8])], weights)
    found = read(made)
    assert (found.architecture.hidden, found.embedding_parameters) == (8, 30 * 4)


def test_a_token_table_is_found_where_ids_are_reshaped_first_as_gpt_2_has_it() -> None:
    nodes = [
        node("Reshape", "input_ids flat", "ids"),
        node("Gather", "table ids", "x"),
        node("MatMul", "x dense", "y"),
    ]
    weights = [weight("table", 30, 8), weight("dense", 8, 8), numbers("flat", -1, 4)]
    made = model(nodes, [port("input_ids", IDS, INT64)], [port("y", [*IDS, 8])], weights)
    found = read(made)
    assert (found.architecture.vocab_size, found.architecture.hidden) == (30, 8)
    assert embedding_rows(made) == 30


def test_weights_in_nodes_are_weights() -> None:
    nodes = [
        node("Constant", "", "table", value=weight("", 30, 8)),
        node("Constant", "", "floor", value=weight("", 1)),
        node("Gather", "table input_ids", "x"),
        node("Max", "x floor", "y"),
    ]
    found = read(model(nodes, [port("input_ids", IDS, INT64)], [port("y", [*IDS, 8])]))
    assert (found.architecture.vocab_size, found.architecture.hidden) == (30, 8)
    assert (found.parameters, found.embedding_share) == (30 * 8, 1.0)
    assert (found.initializer_bytes, found.largest_dim) == ({"float": 4 * 30 * 8}, 30)


def test_what_a_graph_does_not_say_is_none_not_a_guess() -> None:
    made = model([node("Relu", "x", "y")], [port("x", ["n", 4])], [port("y", ["n", 4])])
    assert read(made).architecture == Architecture(None, None, None, None, None)
    assert read(made).embedding_share is None


def test_fused_attention_tells_layers_and_heads() -> None:
    nodes = [
        node("Gather", "table input_ids", "x"),
        node("Attention", "x w b", "y", "com.microsoft", num_heads=4),
    ]
    weights = [weight("table", 30, 16), weight("w", 16, 48), weight("b", 48)]
    made = model(nodes, [port("input_ids", IDS, INT64)], [port("y", [*IDS, 16])], weights)
    assert read(made).architecture == Architecture(layers=1, hidden=16, heads=4, ffn=None, vocab_size=30)


def test_a_block_quantised_weight_counts_the_values_it_stands_for() -> None:
    matmul = node("MatMulNBits", "x w s", "y", "com.microsoft", K=16, N=24, bits=4, block_size=16)
    weights = [weight("w", 24, 1, 8, dtype=np.uint8), weight("s", 24)]
    made = model([matmul], [port("x", [*IDS, 16])], [port("y", [*IDS, 24])], weights)
    assert read(made).parameters == 16 * 24
    assert read(made).initializer_bytes == {"uint8": 192, "float": 96}


def test_a_sound_graph_has_no_warning() -> None:
    assert read(embedder(), tokenizer_vocab=50).warnings == ()


@pytest.mark.parametrize(
    ("made", "changes", "words"),
    [
        (embedder(normalise=False), {}, "not L2-normalised"),
        (embedder(mask=False), {}, "no mask"),
        (embedder(vocab=50), {"tokenizer_vocab": 51}, "ids up to 50, the embedding table has 50 rows"),
        (decoder_layers(1, 8, 2, 1, 4, 16, 50), {}, "must pool"),
        (
            model([node("Einsum", "x x", "y", equation="ij,ij->i"), node("ReduceL2", "y axis", "n"),
                   node("Div", "y n", "z")],
                  [port("x", ["batch_size", 4]), port("mask", ["batch_size", 4])],
                  [port("z", ["batch_size", 4])],
                  [numbers("axis", 0)]),
            {}, "FLOPs are unknown: Einsum",
        ),
    ],
    ids=["norm", "mask", "vocabulary", "pooling", "flops"],
)  # fmt: skip
def test_what_is_wrong_with_a_graph_is_told(made: ModelProto, changes: dict[str, int], words: str) -> None:
    (warning,) = read(made, **changes).warnings
    assert words in warning


def test_an_old_opset_and_a_kv_cache_are_told() -> None:
    made = embedder()
    del made.opset_import[:]
    made.opset_import.extend([helper.make_opsetid("", 11)])
    made.graph.input.append(port("past_key_values.0.key", ["batch_size", 2, "past_sequence_length", 4]))
    warnings = " ".join(read(made).warnings)
    assert "opset 11 is old" in warnings
    assert "KV cache" in warnings


@pytest.mark.parametrize("norm", ["ReduceL2", "spelled out", "LpNormalization"])
def test_every_way_to_write_a_norm_is_known(norm: str) -> None:
    made = embedder(normalise=False)
    nodes = [n for n in made.graph.node if n.op_type != "Identity"]
    if norm == "LpNormalization":
        nodes.append(node("LpNormalization", "pooled", "vector"))
    elif norm == "ReduceL2":
        nodes += [
            node("ReduceL2", "pooled axis", "n"),
            node("Max", "n n", "f"),
            node("Div", "pooled f", "vector"),
        ]
    else:
        nodes += [node("Mul", "pooled pooled", "squares"), node("ReduceSum", "squares axis", "sum"),
                  node("Sqrt", "sum", "n"), node("Div", "pooled n", "vector")]  # fmt: skip
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    assert read(made).warnings == ()


def test_a_mean_is_no_norm() -> None:
    made = embedder(normalise=False)
    made.graph.node[-1].CopyFrom(node("Div", "pooled count", "vector"))
    made.graph.node.insert(0, node("ReduceSum", "states axis", "count"))
    assert any("not L2-normalised" in warning for warning in read(made).warnings)


@pytest.mark.parametrize(
    "place", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "", "link/secret.bin"]
)
def test_external_data_outside_the_folder_is_refused(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path)
    made = model(
        [node("MatMul", "x w", "y")],
        [port("x", [1, 4])],
        [port("y", None)],
        [hollow("w", 4, 4, location=place)],
    )
    with pytest.raises(BadInputError, match="path traversal"):
        load_graph(saved(made, folder))


def test_external_data_of_an_attribute_is_held_to_the_same_rule(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"], value=hollow("w", 4, 4, location="../w.bin"))
    made = model([constant, node("MatMul", "x w", "y")], [port("x", [1, 4])], [port("y", None)])
    with pytest.raises(BadInputError, match="path traversal"):
        load_graph(saved(made, tmp_path))


def test_external_data_of_a_sparse_weight_is_held_to_the_same_rule(tmp_path: Path) -> None:
    made = embedder()
    made.graph.sparse_initializer.add(
        values=hollow("w", 2, location="../w.bin"), indices=numbers("at", 0, 1), dims=[8]
    )
    with pytest.raises(BadInputError, match="path traversal"):
        load_graph(saved(made, tmp_path))


def test_external_data_in_two_places_is_refused(tmp_path: Path) -> None:
    made = embedder()
    made.graph.initializer[1].CopyFrom(hollow("dense", 8, 8, location="../secret.bin"))
    made.graph.initializer[1].external_data.add(key="location", value="weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(256))
    with pytest.raises(
        BadInputError, match=r"'dense' names the location of its data twice \('\.\./secret\.bin"
    ):
        load_graph(saved(made, tmp_path))


def test_external_data_must_lie_beside_the_graph_and_be_whole(tmp_path: Path) -> None:
    path, data = saved(decoder_layers(1, 8, 2, 1, 4, 16, 50), tmp_path), tmp_path / "weights.bin"
    with pytest.raises(BadInputError, match=r"'weights\.bin' is missing"):
        load_graph(path)
    table = 4 * 50 * 8  # bytes of the largest weight
    data.write_bytes(bytes(table - 1))
    with pytest.raises(BadInputError, match=r"cut short: it has 1599 bytes, 'table' ends at 1600; copy"):
        load_graph(path)
    data.write_bytes(bytes(table))
    assert load_graph(path).graph.node


@pytest.mark.parametrize("entry", [("offset", "-4"), ("length", "15"), ("length", "all")])
def test_external_data_that_is_no_whole_weight_is_a_damaged_graph(
    entry: tuple[str, str], tmp_path: Path
) -> None:
    made = embedder()
    made.graph.initializer[1].CopyFrom(hollow("dense", 8, 8))
    made.graph.initializer[1].external_data.add(key=entry[0], value=entry[1])
    (tmp_path / "weights.bin").write_bytes(bytes(1_000))
    with pytest.raises(
        BadInputError, match=f"a damaged graph .*'dense' of 256 bytes .*{entry[0]} {entry[1]}"
    ):
        load_graph(saved(made, tmp_path))


def test_a_weight_of_a_type_that_nobody_knows_yet_is_told(tmp_path: Path) -> None:
    made = embedder()
    made.graph.initializer[0].data_type = 99
    with pytest.raises(
        BadInputError, match=r"its weight 'table' is of data type 99, which onnx [\d.]+ does not"
    ):
        load_graph(saved(made, tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello", b'{"json": true}', b"\x00" * 100])
def test_a_file_that_is_no_graph_is_bad_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="no ONNX graph") as caught:
        load_graph(path)
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_a_graph_with_a_sequence_is_read_and_what_nobody_tells_of_it_is_unknown() -> None:
    nodes = [
        node("SplitToSequence", "x", "parts", axis=0),
        node("ConcatFromSequence", "parts", "whole", axis=0),
        node("MatMul", "whole dense", "y"),
    ]
    outputs = [port("y", None), helper.make_tensor_sequence_value_info("parts", FLOAT, None)]
    anatomy = read_anatomy(
        model(nodes, [port("x", [4, 8])], outputs, [weight("dense", 8, 8)]), batch_size=1, tokens=8
    )
    assert [(port.dtype, port.dims) for port in anatomy.outputs] == [
        ("float", None),
        ("sequence of float", None),
    ]
    assert (anatomy.work.flops, anatomy.work.uncounted) == (None, ("MatMul",))
    assert anatomy.work.activation_bytes is None


def test_a_graph_with_an_optional_is_read() -> None:
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))
    made = model(
        [node("OptionalHasElement", "x", "y")],
        [helper.make_value_info("x", optional)],
        [port("y", [], TensorProto.BOOL)],
    )
    anatomy = read_anatomy(made, batch_size=1, tokens=8)
    assert (anatomy.inputs[0].dtype, anatomy.inputs[0].dims) == ("optional of float", None)
    assert "output y has 0 axes: neither a vector of each text nor of each token" in anatomy.warnings


def test_nodes_within_a_loop_are_said_to_be_left_out() -> None:
    anatomy = read_anatomy(loop(), batch_size=1, tokens=8)
    assert (anatomy.nodes, anatomy.operators) == (2, {"Loop": 1, "Relu": 1})
    assert "3 nodes within Loop are left out of the counts" in anatomy.warnings


def test_operators_within_a_graph_s_own_functions_are_counted(tmp_path: Path) -> None:
    found = read(load_graph(saved(with_function(), tmp_path)))
    assert (found.operators, found.parameters) == ({"Constant": 1, "Gather": 1, "Cast": 1}, 36)
    assert found.architecture.vocab_size == 9
