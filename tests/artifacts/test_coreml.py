"""What CoreML would take, estimated from ONNX Runtime's own lists; the dimension rule from real shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest

from harness.artifacts.coreml import (
    DIM_LIMIT,
    MENDS,
    dim_rule,
    estimate_coreml,
    optimised,
    partition,
    supported,
    symbols_of,
)
from harness.artifacts.shapes import infer_shapes
from harness.errors import BadInputError, RuntimeUnavailableError
from tests.artifacts.graphs import FLOAT, IDS, INT64, embedder, loop, model, node, port, saved, weight

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from harness.artifacts.coreml import CoreMlEstimate, DimRule, Estimate, Format, Shapes
    from harness.artifacts.manifest import Artifact


def found(estimates: tuple[Estimate, ...], model_format: Format, shapes: Shapes) -> Estimate:
    return next(e for e in estimates if (e.model_format, e.shapes) == (model_format, shapes))


def split(made: ModelProto, listed: set[str], rule: DimRule = "Conv only") -> Estimate:
    """How a graph falls apart where so many of ONNX's operators are taken."""
    known = infer_shapes(made, batch_size=1, tokens=8)
    return partition(made, known, "MLProgram", "dynamic", rule, {f"ai.onnx:{op}": "" for op in listed})


@pytest.fixture(scope="module")
def of_minilm(minilm: Artifact) -> CoreMlEstimate:
    return estimate_coreml(minilm.graph, batch_size=1, tokens=128)


# --- the dimension rule


@pytest.mark.parametrize(
    ("version", "rule"),
    [("1.19.2", "every node"), ("1.22.1", "every node"), ("1.23.0", "Conv only"), ("1.31.1", "Conv only"),
     ("1.22.0rc1", "every node"), ("2.0.0", "Conv only")],
)  # fmt: skip
def test_the_rule_is_that_of_the_release(version: str, rule: str) -> None:
    assert dim_rule(version) == rule


def test_minilm_s_vocabulary_is_larger_than_the_limit_and_that_is_said(of_minilm: CoreMlEstimate) -> None:
    assert 30_522 > DIM_LIMIT == 16_384
    ((op, _, shape),) = of_minilm.large
    assert (op, shape) == ("Gather", (30_522, 384))
    assert of_minilm.consequence.startswith("30,522 is larger than 16,384: Gather reads ")
    assert f"This is ONNX Runtime {of_minilm.onnxruntime}" in of_minilm.consequence


def test_the_old_rule_costs_minilm_the_lookup_alone_and_the_new_one_nothing(
    of_minilm: CoreMlEstimate,
) -> None:
    new = found(of_minilm.estimates, "MLProgram", "static")
    old = found(of_minilm.other_rule, "MLProgram", "static")
    assert (new.dim_rule, old.dim_rule) == ("Conv only", "every node")
    assert old.nodes_taken == new.nodes_taken - 1
    assert old.stopped_by["a dimension over 16,384"] == {"Gather": 1}
    assert "a dimension over 16,384" not in new.stopped_by


@pytest.mark.parametrize(("vocab", "refused"), [(DIM_LIMIT, False), (DIM_LIMIT + 1, True)])
def test_the_limit_itself_is_allowed(vocab: int, refused: bool, tmp_path: Path) -> None:
    estimate = estimate_coreml(saved(embedder(vocab, 4), tmp_path), batch_size=1, tokens=8)
    assert bool(estimate.large) == refused
    said = f"{vocab:,} is larger than 16,384" if refused else "no input has a dimension over 16,384"
    assert estimate.consequence.startswith(said)


def test_an_activation_counts_as_much_as_a_weight_and_conv_is_asked_under_either_rule() -> None:
    inputs, outputs = [port("x", [1, 1, 20_000])], [port("y", None)]
    made = model([node("Conv", "x w", "c"), node("Relu", "c", "y")], inputs, outputs, [weight("w", 1, 1, 1)])
    assert split(made, {"Conv", "Relu"}, "Conv only").stopped_by == {"a dimension over 16,384": {"Conv": 1}}
    assert split(made, {"Conv", "Relu"}, "every node").nodes_taken == 0


# --- what is taken


def test_minilm_in_static_shapes_is_nearly_whole_and_the_dynamic_graph_in_pieces(
    of_minilm: CoreMlEstimate,
) -> None:
    """The figures of the same wheel taken apart by hand (docs/facts.md) were 239 of 246 and 66 of 343."""
    static = found(of_minilm.estimates, "MLProgram", "static")
    fixed = found(of_minilm.estimates, "MLProgram", "fixed parts")
    assert static.nodes == 246
    assert static.float_nodes_taken >= 239
    assert static.partitions <= 4
    assert fixed.share < 0.3
    assert fixed.partitions >= 10


def test_neural_network_lacks_layer_normalisation_and_falls_apart(of_minilm: CoreMlEstimate) -> None:
    old_format = found(of_minilm.estimates, "NeuralNetwork", "static")
    assert old_format.stopped_by["not in the list"]["LayerNormalization"] == 13
    assert old_format.partitions > 10 * found(of_minilm.estimates, "MLProgram", "static").partitions


def test_every_estimate_adds_up(of_minilm: CoreMlEstimate) -> None:
    assert len(of_minilm.estimates) == len(of_minilm.other_rule) == 6
    for e in (*of_minilm.estimates, *of_minilm.other_rule):
        assert e.nodes_taken + sum(sum(ops.values()) for ops in e.stopped_by.values()) == e.nodes
        assert e.float_nodes_taken <= e.nodes_taken
    assert any("upper bound" in note for note in of_minilm.notes)


def test_a_node_that_is_not_taken_cuts_the_graph_in_two() -> None:
    nodes = [node("Relu", "x", "a"), node("Sigmoid", "a", "b"), node("Relu", "b", "y")]
    made = model(nodes, [port("x", [1, 8])], [port("y", [1, 8])])
    assert (split(made, {"Relu", "Sigmoid"}).nodes_taken, split(made, {"Relu", "Sigmoid"}).partitions) == (
        3,
        1,
    )
    cut = split(made, {"Relu"})
    assert (cut.nodes_taken, cut.partitions, cut.share) == (2, 2, pytest.approx(2 / 3))
    assert cut.stopped_by == {"not in the list": {"Sigmoid": 1}}


def test_integers_are_counted_apart() -> None:
    nodes = [node("Cast", "ids", "f", to=FLOAT), node("Relu", "f", "y")]
    made = model(nodes, [port("ids", [1, 8], INT64)], [port("y", [1, 8])])
    estimate = split(made, {"Cast", "Relu"})
    assert (estimate.nodes_taken, estimate.float_nodes_taken) == (2, 1)


def test_what_a_list_says_in_words_is_held_against_the_graph_where_it_can_be() -> None:
    made = model([node("And", "a b", "y")], [port("a", [2]), port("b", [2])], [port("y", None)])
    known = infer_shapes(made, batch_size=1, tokens=8)
    listed = {"ai.onnx:And": "Both inputs must be bool."}
    estimate = partition(made, known, "MLProgram", "dynamic", "Conv only", listed)
    assert estimate.stopped_by == {"the list says: Both inputs must be bool": {"And": 1}}


def test_what_reads_a_tensor_of_unknown_rank_is_not_taken(tmp_path: Path) -> None:
    """The provider takes no input without a shape (IsInputSupported in coreml's helper.cc)."""
    made: Any = embedder()
    for value in made.graph.input:
        value.type.tensor_type.ClearField("shape")
    for e in estimate_coreml(saved(made, tmp_path), batch_size=1, tokens=8).estimates:
        assert e.nodes_taken == 0
        assert e.stopped_by["an input of unknown rank"]


# --- where it comes from


def test_the_lists_known_defects_are_mended_and_nothing_else_is_added() -> None:
    for model_format, mends in MENDS.items():
        raw, mended = supported(model_format, mended=False), supported(model_format)
        assert set(mended) - set(raw) <= set(mends)
        assert {"ai.onnx:Gather", "ai.onnx:MatMul"} <= set(mended)


def test_an_onnx_runtime_without_the_lists_cannot_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.artifacts.coreml._LISTS", {"MLProgram": "no_such_list.md"})
    with pytest.raises(RuntimeUnavailableError, match=r"has no no_such_list\.md to estimate from"):
        supported("MLProgram")


def test_static_sizes_are_given_by_the_axes_own_names(tmp_path: Path) -> None:
    path = saved(embedder(), tmp_path)
    assert symbols_of(path, batch_size=2, tokens=16) == dict(zip(IDS, (2, 16), strict=True))
    shown = optimised(path, symbols_of(path, batch_size=2, tokens=16))
    ids = next(i for i in shown.graph.input if i.name == "input_ids")
    assert [dim.dim_value for dim in ids.type.tensor_type.shape.dim] == [2, 16]


def test_an_axis_without_a_name_stays_dynamic_and_is_told(tmp_path: Path) -> None:
    made: Any = embedder()
    made.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_param")
    estimate = estimate_coreml(saved(made, tmp_path), batch_size=1, tokens=8)
    assert any("static shapes could not be given to input_ids" in note for note in estimate.notes)


def test_weights_beside_the_graph_are_told_as_what_coreml_may_not_read(tmp_path: Path) -> None:
    path, inside = tmp_path / "model.onnx", saved(embedder(), tmp_path, "inside.onnx")
    onnx.save(embedder(), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    told = "its weights lie beside it (weights.bin)"
    assert any(told in note for note in estimate_coreml(path, batch_size=1, tokens=8).notes)
    assert not any("beside" in note for note in estimate_coreml(inside, batch_size=1, tokens=8).notes)


def test_a_graph_that_onnx_runtime_cannot_load_is_bad_input_in_one_line(tmp_path: Path) -> None:
    made = model([node("NoSuchOperator", "x", "y")], [port("x", [1])], [port("y", [1])])
    with pytest.raises(BadInputError, match="ONNX Runtime does not load it: ") as caught:
        optimised(saved(made, tmp_path), {})
    assert "\n" not in str(caught.value)


def test_what_lies_within_a_loop_is_neither_counted_nor_taken_and_that_is_said(tmp_path: Path) -> None:
    made = loop()
    made.graph.value_info.append(port("y", [4, 8]))
    told = estimate_coreml(saved(made, tmp_path), batch_size=1, tokens=8)
    for e in (*told.estimates, *told.other_rule):
        assert (e.nodes, e.nodes_taken, e.partitions) == (2, 1, 1)
        assert e.stopped_by == {"not in the list": {"Loop": 1}}
    assert any("within Loop, If and Scan" in note for note in told.notes)
