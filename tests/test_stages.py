"""``python -m harness.stages``: each fault of a provider shows in its own stage, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.datasets import StageDump, read_stages
from harness.errors import BadInputError
from harness.stages import StagedModel, compare_stages, first_difference, main
from harness.texts import quality_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.artifacts.manifest import Artifact
    from harness.provider import EmbeddingProvider
    from harness.stages import Finding

TEXT = "A cat sleeps on the mat, and nobody minds."


@pytest.fixture(scope="module")
def model(minilm: Artifact) -> StagedModel:
    return StagedModel(minilm)


@pytest.fixture(scope="module")
def right(model: StagedModel) -> StageDump:
    """What a provider without any fault dumps."""
    ids = model.token_ids(TEXT)
    _, pooled, normalised = model.vectors(ids)
    return StageDump("line 1", TEXT, ids, tuple(pooled.tolist()), tuple(normalised.tolist()))


@pytest.fixture(scope="module")
def found(model: StagedModel, right: StageDump) -> Callable[..., dict[str, Finding]]:
    """The findings by stage, of the right dump with changes."""

    def compare(**changes: Any) -> dict[str, Finding]:
        changed = {key: None if value is None else tuple(value) for key, value in changes.items()}
        return {f.stage: f for f in compare_stages(model, [right._replace(**changed)])}

    return compare


def test_the_stages_are_those_of_the_tokenizer_the_provider_and_sentence_transformers(
    minilm: Artifact, model: StagedModel, provider: EmbeddingProvider
) -> None:
    from tokenizers import Tokenizer

    texts, reference = quality_texts()[:6], minilm.reference()
    assert reference is not None
    for text, expected in zip(texts, reference, strict=False):
        ids = model.token_ids(text)
        assert list(ids) == Tokenizer.from_file(str(minilm.tokenizer)).encode(text).ids
        hidden, pooled, normalised = model.vectors(ids)
        np.testing.assert_allclose(hidden.mean(axis=0), pooled, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(normalised, expected, atol=1e-5)
    np.testing.assert_allclose(
        provider.encode([texts[0]])[0], model.vectors(model.token_ids(texts[0]))[2], atol=1e-5
    )


def test_a_provider_without_a_fault_agrees_at_every_stage(found: Callable[..., dict[str, Finding]]) -> None:
    findings = found()
    assert list(findings) == ["input_ids", "pooled", "normalised"]
    assert all(finding.agrees and not finding.told for finding in findings.values())
    assert first_difference(list(findings.values())) is None


def test_padding_that_was_not_masked_is_no_fault_of_what_follows(
    right: StageDump, found: Callable[..., dict[str, Finding]]
) -> None:
    assert right.input_ids is not None
    findings = found(input_ids=(*right.input_ids, 0, 0, 0))
    assert [finding.agrees for finding in findings.values()] == [False, True, True]


def test_a_vector_beyond_all_measure_differs_and_warns_of_nothing(
    found: Callable[..., dict[str, Finding]], right: StageDump
) -> None:
    assert right.pooled is not None
    finding = found(pooled=[1e308] * len(right.pooled))["pooled"]
    assert (finding.agrees, "length inf" in finding.told) == (False, True)


@pytest.mark.parametrize("token_id", [-1, 2**32, 2**70])
def test_an_id_that_no_vocabulary_has_is_told(
    found: Callable[..., dict[str, Finding]], right: StageDump, token_id: int
) -> None:
    assert right.input_ids is not None
    wrong = (*right.input_ids[:-1], token_id)
    assert f"{token_id} (no such token), expected" in found(input_ids=wrong)["input_ids"].told


def test_stages_that_were_not_dumped_are_not_judged(found: Callable[..., dict[str, Finding]]) -> None:
    assert list(found(input_ids=None, pooled=None)) == ["normalised"]
    assert found(input_ids=None, pooled=None)["normalised"].agrees


def test_a_fault_of_the_tokenizer_shows_in_the_token_ids_alone(
    model: StagedModel, right: StageDump, found: Callable[..., dict[str, Finding]]
) -> None:
    assert right.input_ids is not None
    bare = right.input_ids[1:-1]  # without [CLS] and [SEP]
    _, pooled, normalised = model.vectors(bare)
    findings = found(input_ids=bare, pooled=pooled.tolist(), normalised=normalised.tolist())
    assert [stage for stage, finding in findings.items() if not finding.agrees] == ["input_ids"]
    assert findings["input_ids"].told == "position 0: 1037 ('a'), expected 101 ('[CLS]'); 11 ids, expected 13"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda ids: (*ids, 0, 0), "15 ids, expected 13: the rest is padding; leave it out, or give "
                                   "attention_mask"),
        (lambda ids: ids[:-1], "12 ids, expected 13: it ends before 102 ('[SEP]')"),
        (lambda ids: (*ids, 102), "14 ids, expected 13: the first 13 agree"),
        (lambda ids: (ids[0], 10**6, *ids[2:]), "position 1: 1000000 (no such token), expected 1037 ('a'); "
                                                "13 ids, expected 13"),
    ],
    ids=["padding", "no end", "twice", "no such id"],
)  # fmt: skip
def test_token_ids_that_differ_are_told_where(
    right: StageDump,
    found: Callable[..., dict[str, Finding]],
    change: Callable[[tuple[int, ...]], tuple[int, ...]],
    told: str,
) -> None:
    assert right.input_ids is not None
    findings = found(input_ids=change(right.input_ids), pooled=None, normalised=None)
    assert findings["input_ids"].told == told


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        (lambda hidden: hidden[0], "it is the first token's vector (CLS pooling)"),
        (lambda hidden: hidden[-1], "it is the last token's vector (last-token pooling)"),
        (lambda hidden: hidden[1:-1].mean(axis=0), "it is the mean without the first and the last token"),
        (lambda hidden: hidden.sum(axis=0), "it is the sum over the tokens"),
        (lambda hidden: hidden.mean(axis=0)[:100], "100 numbers, expected 384"),
        (lambda hidden: hidden.mean(axis=0) * np.nan, "it holds NaN or infinity"),
        (lambda hidden: hidden.max(axis=0), "cosine 0."),
    ],
)
def test_a_wrong_pooling_shows_in_the_pooled_vector_alone_and_is_named(
    model: StagedModel,
    right: StageDump,
    found: Callable[..., dict[str, Finding]],
    pool: Callable[[Any], Any],
    told: str,
) -> None:
    assert right.input_ids is not None
    pooled = pool(model.vectors(right.input_ids)[0])
    normalised = None if np.isnan(pooled).any() else pooled / np.linalg.norm(pooled)
    findings = found(pooled=pooled.tolist(), normalised=normalised)
    assert findings["pooled"].told.startswith(told)
    assert first_difference(list(findings.values())) == "pooled"
    assert all(finding.agrees for stage, finding in findings.items() if stage != "pooled")


def test_a_wrong_pooling_is_named_in_the_normalised_vector_where_no_pooled_one_was_dumped(
    model: StagedModel, found: Callable[..., dict[str, Finding]]
) -> None:
    hidden, _, _ = model.vectors(model.token_ids(TEXT))
    finding = found(pooled=None, normalised=(hidden[0] / np.linalg.norm(hidden[0])).tolist())["normalised"]
    assert finding.told == "it is the first token's vector (CLS pooling), normalised"


def test_a_vector_that_is_not_normalised_is_told_so(
    right: StageDump, found: Callable[..., dict[str, Finding]]
) -> None:
    assert right.pooled is not None
    findings = found(normalised=right.pooled)
    assert findings["normalised"].told == "it is the pooled vector: it is not normalised"
    assert findings["pooled"].agrees
    halved = np.array(right.normalised) / 2
    assert found(normalised=halved.tolist())["normalised"].told.endswith("length 0.5, expected 1")


def test_the_tolerance_is_relative_to_the_expected_length(model: StagedModel, right: StageDump) -> None:
    assert right.pooled is not None
    off = right._replace(input_ids=None, pooled=tuple(1.01 * n for n in right.pooled), normalised=None)
    (finding,) = compare_stages(model, [off])
    assert finding.distance == pytest.approx(0.01, rel=1e-3)
    assert not finding.agrees
    assert compare_stages(model, [off], tolerance=0.02)[0].agrees


# --- the dump


def dump_file(folder: Path, *rows: dict[str, Any], name: str = "dump.jsonl") -> str:
    (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / name)


def test_a_dump_is_read_with_its_padding_left_out_and_either_spelling(tmp_path: Path) -> None:
    file = dump_file(
        tmp_path,
        {
            "text": "a",
            "input_ids": [7, 8, 0],
            "attention_mask": [1, 1, 0],
            "normalized": [1, 0.5],
            "more": "x",
        },
        {"text": "b", "pooled": [float("nan")], "input_ids": None},
    )
    first, second = read_stages(file)
    assert first == StageDump("line 1", "a", (7, 8), None, (1, 0.5))
    assert (second.where, second.input_ids) == ("line 2", None)
    assert second.pooled is not None
    assert np.isnan(second.pooled[0])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_ids": [1]}, "line 1: text=None is no text"),
        ({"text": "a", "input_ids": [1.5]}, "line 1: input_ids is no flat list of whole numbers"),
        ({"text": "a", "pooled": [[0.1]]}, "line 1: pooled is no flat list of numbers"),
        ({"text": "a", "pooled": [10**400]}, "line 1: pooled has a number beyond 1.8e308, the largest float"),
        ({"text": "a", "normalised": "x"}, "line 1: normalised is no flat list of numbers"),
        ({"text": "a", "pooled": []}, "line 1: pooled is no flat list of numbers"),
        (
            {"text": "a", "input_ids": [1], "attention_mask": [1, 0]},
            "1 input_ids and 2 numbers of attention_mask",
        ),
        ({"text": "a", "poled": [1]}, "no line has input_ids, pooled or normalised"),
    ],
)
def test_a_dump_that_cannot_be_used_is_one_line(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        read_stages(dump_file(tmp_path, row))
    (problem,) = caught.value.problems
    assert reason in problem


# --- the command


def test_the_command_names_the_first_stage_that_differs_and_exits_so(
    minilm: Artifact, right: StageDump, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"text": TEXT, "input_ids": right.input_ids, "normalised": right.normalised}
    bad = good | {"normalised": right.pooled}
    assert main(["model=minilm", f"reference={dump_file(tmp_path, good)}"]) == 0
    told = capsys.readouterr().out
    assert "all that was given agrees; not given: pooled" in told
    assert main(["model=minilm", f"reference={dump_file(tmp_path, good, bad)}"]) == 13
    told = capsys.readouterr().out
    assert "the first stage that differs is normalised; not given: pooled" in told
    assert "normalised, line 2, 'A cat sleeps on the mat, and nobody mind': it is the pooled vector" in told
    assert main(["model=minilm", f"reference={dump_file(tmp_path, bad)}", "format=json"]) == 13
    report = json.loads(capsys.readouterr().out)
    assert report["first_difference"] == "normalised"
    assert [stage["differing"] for stage in report["stages"]] == [0, 0, 1]
    assert report["differences"][0]["where"] == "line 1"


def test_a_model_of_one_s_own_is_compared_as_it_is_said_to_be_normalised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def own_model(folder: str, *, normalize: bool | None) -> None:
        asked.append((folder, normalize))
        raise BadInputError("far enough")

    monkeypatch.setattr("harness.stages.own_model", own_model)
    (tmp_path / "dump.jsonl").write_text('{"text": "a", "pooled": [1]}\n', encoding="utf-8")
    words = ["model=custom", "model.path=mine", f"reference={tmp_path / 'dump.jsonl'}"]
    for word in ([], ["model.normalize=true"], ["model.normalize=false"]):
        with pytest.raises(BadInputError, match="far enough"):
            main([*words, *word])
    assert asked == [("mine", None), ("mine", True), ("mine", False)]
    with pytest.raises(BadInputError, match=r"model\.normalize: model=minilm says it itself"):
        main(["model=minilm", words[2], "model.normalize=true"])


def test_every_wrong_word_is_told_before_anything_is_built() -> None:
    words = ["model=minlm", "reference=/nowhere.jsonl", "tolerance=2", "prompt=querry", "format=xml"]
    with pytest.raises(BadInputError) as caught:
        main(words)
    assert len(caught.value.problems) == 5
    with pytest.raises(BadInputError) as caught:
        main([])
    assert caught.value.problems == (
        "model: missing; give model=NAME, or model=custom model.path=DIR",
        "reference: missing; give reference=FILE.jsonl",
    )
