"""Graphs that somebody else exported: read inside their folder alone, and refused where unfit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from harness.artifacts.graphs import (
    check_graph,
    embedding_rows,
    external_files,
    hidden_size,
    keep_token_vectors,
    load_data,
    precisions_in,
    read_graph,
)
from tests.artifacts.graphs import FLOAT, IDS, INT64, UINT8, hollow, model, node, numbers, port, saved, weight

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

FLOAT16 = onnx.TensorProto.FLOAT16
STATES = port("last_hidden_state", [*IDS, 4])


def token_vectors(**changes: Any) -> ModelProto:
    """The smallest graph that is fit: a look-up in a table of 9 rows."""
    ports = [port("input_ids", IDS, INT64), port("attention_mask", IDS, INT64)]
    parts: dict[str, Any] = {
        "nodes": [node("Gather", "table input_ids", "last_hidden_state")],
        "inputs": ports,
        "outputs": [STATES],
        "weights": [weight("table", 9, 4)],
    }
    extra = changes.pop("extra_inputs", [])
    parts |= changes
    return model(parts["nodes"], [*parts["inputs"], *extra], parts["outputs"], parts["weights"])


def test_a_graph_from_tokens_to_their_vectors_is_fit() -> None:
    graph = token_vectors()
    check_graph(graph)
    assert embedding_rows(graph) == 9


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {
                "extra_inputs": [
                    port("position_ids", IDS, INT64),
                    *(port(f"past_key_values.{i}.key", ["b", 1, "p", 4]) for i in range(3)),
                ]
            },
            r"^a causal-LM export: it wants past_key_values\.0\.key, past_key_values\.1\.key, … \(3 inputs",
        ),
        ({"extra_inputs": [port("pixel_values", ["n", 3])]}, "inputs that a text does not have: pixel_val"),
        ({"inputs": [port("input_ids", IDS, INT64)]}, "it has no input attention_mask"),
        ({"outputs": [port("logits", [*IDS, 9])]}, "it gives logits, not a vector for each token"),
        ({"outputs": [port("vector", ["b", 4])]}, "it gives vector, not last_hidden_state or token_embed"),
        ({"outputs": [port("last_hidden_state", [*IDS, 4], FLOAT16)]}, "last_hidden_state is FLOAT16"),
        ({"inputs": [port(n, [1, 128], INT64) for n in ("input_ids", "attention_mask")]}, "fixed shape"),
        ({"inputs": [port(n, IDS) for n in ("input_ids", "attention_mask")]}, "input_ids is not int64"),
        (
            {
                "nodes": [
                    node("DequantizeLinear", "table scale", "real"),
                    node("Gather", "real input_ids", "last_hidden_state"),
                ],
                "weights": [hollow("table", 9, 4, dtype=UINT8), weight("scale")],
            },
            "a quantised one: it has DequantizeLinear",
        ),
        ({"weights": [hollow("table", 9, 4, dtype=FLOAT16)]}, "it is no fp32 graph: it has fp16; give"),
    ],
    ids=[
        "past key values", "an unknown input", "no mask", "logits", "pooled already", "fp16 output",
        "fixed shape", "float tokens", "quantised", "fp16 weights",
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_fed_or_is_no_fp32_graph_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_graph(token_vectors(**changes))


def test_a_graph_of_a_lower_precision_is_taken_where_one_is_asked_for() -> None:
    halved = token_vectors(weights=[weight("table", 9, 4, dtype=np.float16)])
    with pytest.raises(ValueError, match="it is no fp32 graph: it has fp16; give"):
        check_graph(halved)
    check_graph(halved, precision="fp16-published")
    with pytest.raises(ValueError, match="causal-LM"):
        check_graph(token_vectors(extra_inputs=[port("past_key_values.0.key", IDS)]), precision="int8")


@pytest.mark.parametrize(
    ("dtype", "operator", "found", "fits"),
    [
        (FLOAT, "MatMul", "nothing in it is lower than fp32", set()),
        (FLOAT16, "MatMul", "it has fp16", {"fp16-published", "own"}),
        (FLOAT16, "MatMulInteger", "it has fp16, int8", {"int8-published", "own"}),
        (UINT8, "DequantizeLinear", "it has int8", {"int8-published", "own"}),
        (UINT8, "Cast", "it has int8", {"int8-published", "own"}),
        (UINT8, "MatMulNBits", "it has int4", {"own"}),
    ],
)
def test_a_published_graph_bears_no_other_precision_s_name(
    dtype: int, operator: str, found: str, fits: set[str]
) -> None:
    nodes = [node(operator, "table", "it"), node("Gather", "it input_ids", "last_hidden_state")]
    graph = token_vectors(nodes=nodes, weights=[hollow("table", 9, 4, dtype=dtype)])
    for name in ("fp16-published", "int8-published", "own"):
        if name in fits:
            check_graph(graph, precision=name)
            continue
        with pytest.raises(ValueError, match=f"^it is no graph of precision={name}: {found}; give the file"):
            check_graph(graph, precision=name)


@pytest.mark.parametrize(
    ("dtype", "found"), [(np.float16, "fp16"), (np.int8, "int8"), (np.float32, None)], ids=str
)
@pytest.mark.parametrize("as_node", [True, False], ids=["Constant", "initializer"])
def test_a_graph_is_of_its_weights_precision_wherever_it_keeps_them(
    dtype: type[np.generic], found: str | None, *, as_node: bool
) -> None:
    table = weight("table", 9, 4, dtype=dtype)
    nodes = [node("Gather", "table input_ids", "rows"), node("Cast", "rows", "last_hidden_state", to=FLOAT)]
    if as_node:
        nodes.insert(0, node("Constant", "", "table", value=table))
    graph = token_vectors(nodes=nodes, weights=[] if as_node else [table])
    assert embedding_rows(graph) == 9
    if found is None:
        check_graph(graph)
        return
    with pytest.raises(ValueError, match=f"it is no fp32 graph: it has {found}; give its fp32 export"):
        check_graph(graph)
    check_graph(graph, precision=f"{found}-published")


@pytest.mark.parametrize(("to", "found"), [(FLOAT16, "fp16"), (onnx.TensorProto.BFLOAT16, "bf16")], ids=str)
@pytest.mark.parametrize("cast", ["dense half", "rows half_rows"], ids=["weights", "activations"])
def test_a_graph_that_casts_to_16_bits_what_it_multiplies_is_no_fp32_graph(
    to: int, found: str, cast: str
) -> None:
    """Its weights are kept in 32 bits, and all the same its vectors are those of 16."""
    nodes = [
        node("Gather", "table input_ids", "rows"),
        node("Cast", *cast.split(), to=to),
        node("MatMul", "rows half" if cast.startswith("dense") else "half_rows dense", "states"),
        node("Cast", "states", "last_hidden_state", to=FLOAT),
    ]
    graph = token_vectors(nodes=nodes, weights=[weight("table", 9, 4), weight("dense", 4, 4)])
    with pytest.raises(ValueError, match=f"it is no fp32 graph: it has {found}; give its fp32 export"):
        check_graph(graph)
    check_graph(graph, precision=f"{found}-published")


def test_what_a_graph_s_own_functions_compute_in_16_bits_is_seen() -> None:
    graph = token_vectors()
    halve = onnx.helper.make_node("Cast", ["x"], ["half"], to=FLOAT16)
    opsets = [onnx.helper.make_opsetid("", 17)]
    graph.functions.append(onnx.helper.make_function("local", "Halve", ["x"], ["half"], [halve], opsets))
    assert precisions_in(graph) == ["fp16"]


def with_function(opset: int = 18, **changes: Any) -> ModelProto:
    """A graph that looks its table up in a function of its own, written in an opset."""
    graph = token_vectors(nodes=[node("Rows", "input_ids", "last_hidden_state", domain="local")], weights=[])
    body = [
        node("Constant", "", "table", value=weight("table", 9, 4, **changes)),
        node("Gather", "table ids", "kept"),
        node("Cast", "kept", "rows", to=FLOAT),
    ]
    opsets = [onnx.helper.make_opsetid("", opset)]
    graph.functions.append(onnx.helper.make_function("local", "Rows", ["ids"], ["rows"], body, opsets))
    graph.opset_import.append(onnx.helper.make_opsetid("local", 1))
    return graph


@pytest.mark.parametrize(("dtype", "found"), [(np.float32, []), (np.int8, ["int8"])], ids=str)
def test_a_graph_s_own_functions_are_read_as_what_stands_in_them(
    dtype: type[np.generic], found: list[str], tmp_path: Path
) -> None:
    graph = read_graph(saved(with_function(dtype=dtype), tmp_path))
    assert [node.op_type for node in graph.graph.node] == ["Constant", "Gather", "Cast"]
    assert (len(graph.functions), embedding_rows(graph), precisions_in(graph)) == (0, 9, found)


def test_a_function_that_calls_itself_is_told(tmp_path: Path) -> None:
    graph = with_function()
    graph.functions[0].node.append(node("Rows", "ids", "again", domain="local"))
    graph.functions[0].opset_import.append(onnx.helper.make_opsetid("local", 1))
    with pytest.raises(ValueError, match=r"model\.onnx is damaged \(Cycle detected .*\); copy or export it"):
        read_graph(saved(graph, tmp_path))


def test_weights_in_floats_of_8_bits_are_seen() -> None:
    graph = token_vectors()
    dtype = onnx.TensorProto.FLOAT8E4M3FN
    graph.graph.initializer.append(onnx.helper.make_tensor("w8", dtype, [2, 2], [1.0] * 4))
    assert precisions_in(graph) == ["fp8"]


MASKED = {  # a mask of 8 bits as exports use one: it chooses, or hides by a large number
    "chooses": [
        node("Slice", "constant zero length", "cut"),
        node("Cast", "cut", "seen", to=onnx.TensorProto.BOOL),
        node("Where", "seen rows least", "last_hidden_state"),
    ],
    "is added": [
        node("Slice", "constant zero length", "cut"),
        node("Cast", "cut", "seen", to=FLOAT),
        node("Sub", "one seen", "hidden"),
        node("Mul", "hidden least", "far"),
        node("Add", "rows far", "last_hidden_state"),
    ],
    "is a factor": [
        node("Cast", "constant", "seen", to=FLOAT),
        node("Mul", "rows seen", "last_hidden_state"),
    ],
    "is not used": [node("Identity", "rows", "last_hidden_state")],
}
MULTIPLIED = {  # weights of 8 bits, dequantised by no operator of that name
    "by a scale": [
        node("Cast", "constant", "whole", to=FLOAT),
        node("Sub", "whole one", "centred"),
        node("Cast", "least", "scale", to=FLOAT),
        node("Mul", "centred scale", "dense"),
        node("MatMul", "rows dense", "last_hidden_state"),
    ],
    "turned": [
        node("Reshape", "constant square", "matrix"),
        node("Transpose", "matrix", "turned"),
        node("Cast", "turned", "dense", to=FLOAT),
        node("Gemm", "rows dense", "last_hidden_state"),
    ],
    "by an unknown operator": [node("Zork", "rows constant", "last_hidden_state", domain="com.microsoft")],
}


@pytest.mark.parametrize(("dtype", "found"), [(np.uint8, "int8"), (np.int16, "int16")], ids=str)
@pytest.mark.parametrize("shape", [(8, 8), (1, 1, 8, 8), (64,)], ids=str)
@pytest.mark.parametrize("use", [*MASKED, *MULTIPLIED])
def test_a_constant_of_few_bits_is_a_quantised_weight_where_it_is_multiplied_and_not_where_it_masks(
    use: str, shape: tuple[int, ...], dtype: type[np.generic], found: str
) -> None:
    before = [
        node("Gather", "table input_ids", "rows"),
        node("Shape", "input_ids", "length", start=1),
    ]
    constants = [weight("table", 9, 4), weight("constant", *shape, dtype=dtype), weight("one")]
    graph = token_vectors(
        nodes=before + (MASKED | MULTIPLIED)[use],
        weights=[*constants, weight("least"), numbers("zero", 0), numbers("square", 8, 8)],
    )
    if use in MASKED:
        check_graph(graph)
        return
    with pytest.raises(ValueError, match=f"it is no fp32 graph: it has {found}; give its fp32 export"):
        check_graph(graph)


def test_positions_alone_are_no_sign_of_a_causal_lm_for_they_can_be_counted() -> None:
    check_graph(token_vectors(extra_inputs=[port("position_ids", IDS, INT64)]))


def test_weights_that_an_old_export_lists_among_its_inputs_are_no_inputs() -> None:
    check_graph(token_vectors(extra_inputs=[port("table", [9, 4], FLOAT)]))


@pytest.mark.parametrize("content", [b"", b"no graph at all", b'{"a": 1}'])
def test_a_file_that_is_no_graph_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.onnx is no ONNX graph"):
        read_graph(tmp_path / "model.onnx")
    assert hidden_size(tmp_path / "model.onnx") is None


def test_a_graph_with_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = saved(token_vectors(), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"attention_mask", b"attention\xff\xffask"))
    with pytest.raises(ValueError, match=r"model\.onnx is damaged: a name in it is no text; copy"):
        read_graph(path)


def test_the_size_of_the_vectors_is_read_from_the_graph(tmp_path: Path) -> None:
    assert hidden_size(saved(token_vectors(), tmp_path)) == 4


def test_of_a_graph_that_pools_by_itself_too_only_the_tokens_vectors_are_kept() -> None:
    """As sentence-transformers exports one, with results of the names that are added here."""
    inner = [node("Add", "rows bias", "moved")]
    branch = onnx.helper.make_graph(inner, "branch", [], [port("moved", [*IDS, 4])])
    graph = token_vectors(
        nodes=[
            node("Gather", "table input_ids", "rows"),
            onnx.helper.make_node("If", ["on"], ["token_embeddings"], then_branch=branch, else_branch=branch),
            node("ReduceMean", "token_embeddings axis", "pooled", keepdims=0),
            node("MatMul", "pooled dense", "sentence_embedding"),
        ],
        outputs=[port("sentence_embedding", ["b", 4]), port("token_embeddings", [*IDS, 4])],
        weights=[weight(name, 9, 4) for name in ("table", "dense")] + [weight("bias", 4), numbers("axis", 1)],
        extra_inputs=[port("dense", [9, 4])],
    )
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "on"))
    keep_token_vectors(graph)
    assert [it.op_type for it in graph.graph.node] == ["Gather", "If"]
    assert [it.name for it in graph.graph.initializer] == ["table", "bias", "on"]
    assert [it.name for it in graph.graph.input] == ["input_ids", "attention_mask"]
    assert [it.name for it in graph.graph.output] == ["token_embeddings"]


# --- data beside the graph


def test_data_beside_a_graph_is_read_into_it(tmp_path: Path) -> None:
    table = np.arange(36, dtype=np.float32).reshape(9, 4)
    graph = token_vectors(weights=[onnx.numpy_helper.from_array(table, "table")])
    path = tmp_path / "model.onnx"
    onnx.save(graph, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    read = read_graph(path)
    assert external_files(read, path) == ["model.onnx_data"]
    load_data(read, path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), table)


def in_an_attribute(location: str) -> ModelProto:
    """The data of a Constant's value inside a branch, where a loader that reads initializers never looks."""
    hidden = node("Constant", "", "c", value=hollow("table", 9, 4, location=location))
    branch = onnx.helper.make_graph([hidden], "branch", [], [port("c", [9, 4])])
    choice = onnx.helper.make_node("If", ["on"], ["table"], then_branch=branch, else_branch=branch)
    return token_vectors(nodes=[choice, node("Gather", "table input_ids", "last_hidden_state")], weights=[])


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "data/../../secret", "..\\secret", "", "link"]
)
@pytest.mark.parametrize("hidden", [False, True], ids=["initializer", "constant in a branch"])
def test_data_outside_the_folder_is_refused_wherever_it_is_named(
    tmp_path: Path, location: str, hidden: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 1000)
    (folder / "link").symlink_to(tmp_path / "secret")
    graph = (
        in_an_attribute(location)
        if hidden
        else token_vectors(weights=[hollow("table", 9, 4, location=location)])
    )
    path = saved(graph, folder)
    for read in (external_files, load_data):
        with pytest.raises(ValueError, match="outside the model's folder: refused"):
            read(read_graph(path), path)


@pytest.mark.parametrize("places", [("in.bin", "../secret"), ("../secret", "in.bin")])
def test_data_that_is_said_to_lie_in_two_places_is_refused(tmp_path: Path, places: tuple[str, str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (folder / "in.bin", tmp_path / "secret"):
        file.write_bytes(b"\0" * 1000)
    tensor = hollow("table", 9, 4, location=places[0])
    tensor.external_data.add(key="location", value=places[1])
    path = saved(token_vectors(weights=[tensor]), folder)
    told = re.escape(f"'table' names the location of its data twice ('{places[0]}', '{places[1]}'): refused")
    for read in (external_files, load_data):
        with pytest.raises(ValueError, match=told):
            read(read_graph(path), path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "model.onnx needs weights.bin: No such file"), (b"\0" * 100, "ends before the data of table")],
    ids=["missing", "cut short"],
)
def test_data_that_is_not_all_there_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    tensor = hollow("table", 9, 4)
    tensor.external_data.add(key="length", value="144")
    path = saved(token_vectors(weights=[tensor]), tmp_path)
    if content is not None:
        (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        load_data(read_graph(path), path)
