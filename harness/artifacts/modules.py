"""What a model's own files say about it: sentence-transformers' modules, and the transformer's config.

Facts that the files state fill what a configuration leaves open; what a configuration states otherwise is
refused with both values. A module that cannot be applied is refused by its name, never dropped.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.artifacts.files import ANEW, of_two_models, read_json
from harness.artifacts.hub import fetch, find_repository
from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.artifacts.hub import Repository, Tell

CONFIG = "config.json"
MODULES = "modules.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
PROMPTS = "config_sentence_transformers.json"
# Where a folder's ONNX graph is looked for.
GRAPHS = ("model.onnx", "onnx/model.onnx")
_TRANSFORMER_CONFIGS = tuple(  # in the order in which sentence-transformers looks for them
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# The arguments in it by their older and their newer name; the older one counts where both stand.
_ARGUMENTS = {
    "config": ("config_args", "config_kwargs"),
    "model": ("model_args", "model_kwargs"),
    "tokenizer": ("tokenizer_args", "processor_kwargs"),
}
# Of those, where a model lies: sentence-transformers puts its own in their place.
_PLACES = ("cache_dir", "local_files_only", "revision", "subfolder", "token", "trust_remote_code")
# Arguments of the weights that change no vector, with the values that they may have (None: any). Whatever
# dtype is asked for, fp32 is the reference, and only safetensors are loaded.
_OF_WEIGHTS = {
    "add_pooling_layer": None,
    "attn_implementation": ("eager", "sdpa"),
    "dtype": None,
    "low_cpu_mem_usage": None,
    "torch_dtype": None,
    "use_safetensors": None,
}
# How its tokenizer is called with texts, and what of that is a batch's alone.
_CALLS, _IN_A_BATCH = ("common", "text"), {"padding", "pad_to_multiple_of"}
# What those files say of texts that are fed as they are, to the whole model.
_AS_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
# Facts without which a model cannot be run.
NEEDED_FACTS = ("pooling", "normalize", "dim", "max_length")

# Module classes by their last name, as every release of sentence-transformers spells them.
_OWN = "sentence_transformers."
_ORDER = ("Transformer", "Pooling", "Dense", "Normalize")
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLING = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
ACTIVATIONS = {"Identity": None, "Tanh": "Tanh", "ReLU": "Relu", "Sigmoid": "Sigmoid"}
# The same fact under the names that architectures give it.
_CONFIG_KEYS = {
    "hidden": ("hidden_size", "d_model", "dim", "n_embd"),
    "layers": ("num_hidden_layers", "n_layers", "num_layers", "n_layer"),
    "heads": ("num_attention_heads", "n_heads", "num_heads", "n_head"),
    "vocab_size": ("vocab_size",),
}
# Architectures whose first two positions are never a token's: they count from the one after padding's.
OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
# Architectures without a table of token types, which look those up among the tokens; no export feeds any.
_TYPES_AMONG_TOKENS = ("codegen", "ctrl", "gpt2", "gpt_neo", "gptj", "openai-gpt")
# The class of tokenizer that knows no architecture, and so gives token types unless its inputs are named.
_GENERIC = "PreTrainedTokenizerFast"
# transformers writes a number near 1e30 where a tokenizer knows no limit.
_NO_LIMIT = 10**9


class Fact(NamedTuple):
    """A value and the file that states it."""

    value: Any
    file: str


@dataclass(frozen=True)
class Facts:
    """What a folder's files state; `stated` holds facts by the configuration's own keys.

    `dense` names the folders of Dense modules, in order; `lower_case`: texts are lower-cased first;
    `truncation_side`: where a text that is too long is cut, None where only its tokenizer says.
    """

    stated: dict[str, Fact]
    dense: tuple[str, ...] = ()
    lower_case: bool = False
    truncation_side: str | None = None


def read_facts(folder: Path, *, graph: str | None = None, exported: bool = False) -> Facts:
    """What the files in `folder` state.

    Args:
        folder: as sentence-transformers or transformers save a model.
        graph: an ONNX graph in it, read for the dimensions of its vectors.
        exported: whether a graph is used that is not in it yet: what only weights cannot be fed by is no
            matter then.

    Raises:
        BadInputError: a file that cannot be read, remote code, a module or pooling that cannot be applied;
            a line each, without a word on where the folder came from.
    """
    problems: list[str] = []
    files = _Files(folder, problems)
    stated: dict[str, Fact] = {}
    problems += [
        f"{name} has an auto_map: it wants code from its repository to run, which is refused; choose another "
        "model"
        for name in (CONFIG, TOKENIZER_CONFIG)
        if files.mapping(name).get("auto_map")
    ]
    kind, tokenizer = files.mapping(CONFIG).get("model_type"), files.mapping(TOKENIZER_CONFIG)
    weights = graph is None and not exported
    if weights and files.mapping(CONFIG).get("quantization_config"):
        problems.append(
            f"{CONFIG} has a quantization_config: its weights are quantised; give the model that they were "
            "made from"
        )
    named = tokenizer.get("model_input_names")
    typed = weights and (not isinstance(named, list) or "token_type_ids" in named)
    if typed and kind in _TYPES_AMONG_TOKENS and tokenizer.get("tokenizer_class") == _GENERIC:
        problems.append(
            f"{TOKENIZER_CONFIG} says tokenizer_class={_GENERIC}, which gives token types, and model_type="
            f'{kind} has no table of them; write "model_input_names": ["input_ids", "attention_mask"] there'
        )
    if (folder / "adapter_config.json").is_file():
        problems.append("adapter_config.json: an adapter on another model; merge it into that one first")
    for fact, keys in _CONFIG_KEYS.items():
        if (value := files.whole(CONFIG, *keys)) is not None:
            stated[fact] = Fact(value, CONFIG)
    if graph is not None:
        _graph_size(folder, graph, stated, problems)
    if "hidden" in stated:
        width, hidden = files.whole(CONFIG, "word_embed_proj_dim"), stated["hidden"].value
        if weights and width not in (None, hidden):
            problems.append(
                f"{CONFIG} says word_embed_proj_dim={width} and hidden_size={hidden}: the model's vectors "
                f"have {width} dimensions, and model.dim={hidden} is what its other files count on; choose "
                "another model"
            )
        stated["dim"] = stated["hidden"]
    dense = _modules(files, stated, problems)
    lower_case = _transformer(files, stated, problems)
    arguments = files.arguments("tokenizer")
    said = files.mapping(TOKENIZER_CONFIG) | arguments
    for key in ("truncation_side", "padding_side"):  # the second changes no vector
        if (side := said.get(key)) not in (None, "left", "right"):
            name = files.transformer()[0] if key in arguments else TOKENIZER_CONFIG
            problems.append(f"{name}: {key}={side!r} is neither left nor right; {ANEW}")
    if said.get("split_special_tokens"):
        name = files.transformer()[0] if "split_special_tokens" in arguments else TOKENIZER_CONFIG
        problems.append(
            f"{name} has split_special_tokens, which an artifact's tokenizer cannot hold; choose another "
            "model, or write false there: what a text names as a special token is one then"
        )
    _prompts(files, stated, problems)
    if (cut := files.whole(PROMPTS, "truncate_dim")) is not None:
        stated["truncate_dim"] = Fact(cut, PROMPTS)
    if problems:
        raise BadInputError(*dict.fromkeys(problems))
    return Facts(stated, dense, lower_case, said.get("truncation_side"))


def arguments_of(folder: Path, what: Literal["config", "tokenizer"]) -> dict[str, Any]:
    """What sentence-transformers' own files say to load the config or the tokenizer with.

    Raises:
        BadInputError: the file cannot be read, or says it in no mapping.
    """
    problems: list[str] = []
    found = _Files(folder, problems).arguments(what)
    if problems:
        raise BadInputError(*problems)
    return {**found, "trust_remote_code": False}


def graph_in(folder: Path) -> str | None:
    """The ONNX graph that a folder without safetensors weights is used by, relative to it."""
    if next(folder.glob("*.safetensors"), None) is not None:
        return None
    return next((name for name in GRAPHS if (folder / name).is_file()), None)


def module_folders(folder: Path) -> list[str]:
    """The folders that ``modules.json`` names, each with files of its own.

    Raises:
        BadInputError: the file cannot be read, or names a place outside the folder.
    """
    problems: list[str] = []
    modules = _Files(folder, problems).modules()
    if problems:
        raise BadInputError(*problems)
    return [path for _, path in modules if path]


def hub_facts(repo: str, revision: str | None, *, exported: bool, tell: Tell) -> Facts:
    """What a repository's own files state, its weights left where they are.

    Raises:
        BadInputError: a module or file that cannot be applied, a line each.
        ModelUnavailableError: the files cannot be had.
        ArtifactError: a file is not what the hub said it is.
    """
    repository = find_repository(repo, revision, tell=tell)
    folder = fetch_described(repository, tell)
    try:
        return read_facts(folder, exported=exported)
    except BadInputError as error:
        raise BadInputError(*(f"model.id={repo}: {line}" for line in error.problems)) from None


def fetch_described(repository: Repository, tell: Tell) -> Path:
    """Have the small files that describe a model in the hub's cache, those of its modules included.

    Returns:
        The repository's folder there.

    Raises:
        HarnessError: as `harness.artifacts.hub.fetch`.
    """
    names = [name for name in repository.files if describes(name)]
    folder = fetch(repository, names, tell=tell)
    if MODULES in names:
        fetch(repository, described_in(repository, folder), tell=tell)
    return folder


def described_in(repository: Repository, folder: Path) -> list[str]:
    """The files that describe a model, by a repository's list and the modules in its folder."""
    modules: list[str] = []
    with suppress(BadInputError):  # told where the facts are read
        modules += [f"{path}/{CONFIG}" for path in module_folders(folder)]
    return [name for name in repository.files if describes(name) or name in modules]


def describes(name: str) -> bool:
    """Whether a file, by its place in the model's folder, is one of the small ones that describe a model."""
    return "/" not in name and name.endswith((".json", ".txt"))


def contradictions(model: Mapping[str, Any], facts: Facts) -> list[str]:
    """Where a configuration states otherwise than the files, a line each with both values.

    A shorter `max_length` is a choice, and so is `normalize` where the model has no module for it.
    """
    problems = []
    for key, (value, file) in facts.stated.items():
        typed = _value(model, key)
        if typed is None or typed == value:
            continue
        if key == "max_length" and isinstance(typed, int) and typed < value:
            continue
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value
        told = json.dumps(typed, ensure_ascii=False) if isinstance(typed, str) else typed
        problems.append(f"model.{key}={told}: {file} says {shown}; leave it out, or choose another model")
    return problems


def completed(model: Mapping[str, Any], facts: Facts | None) -> dict[str, Any]:
    """A model's configuration with what it left open filled from the files; no prompt where none is named."""
    filled = dict(model)
    prompts = dict(model.get("prompts") or {})
    for key, fact in (facts.stated if facts else {}).items():
        if key.startswith("prompts."):
            name = key.removeprefix("prompts.")
            prompts[name] = fact.value if prompts.get(name) is None else prompts[name]
        elif filled.get(key) is None:
            filled[key] = fact.value
    blank = dict.fromkeys(("default", "query", "document"), "")
    filled["prompts"] = blank | {name: text for name, text in prompts.items() if text is not None}
    return filled


def _value(model: Mapping[str, Any], key: str) -> Any:
    value: Any = model
    for part in key.split("."):
        value = value.get(part) if hasattr(value, "get") else None
    return value


class _Files:
    """JSON files of a folder, each read once; what is wrong with them goes to `problems`."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        self._folder = folder
        self._problems = problems
        self._read: dict[str, Any] = {}

    def first(self, pattern: str) -> str:
        """The first file that matches, empty where none does."""
        return next(iter(sorted(path.name for path in self._folder.glob(pattern))), "")

    def json(self, name: str) -> Any:
        """The content of a file, None where it is not there or cannot be read."""
        if name not in self._read:
            self._read[name] = None
            if (self._folder / name).is_file():
                try:
                    self._read[name] = read_json(self._folder, name)
                except BadInputError as error:
                    self._problems += error.problems
                else:
                    if self._read[name] is None:
                        self._problems.append(f"{name} holds null, nothing else; {ANEW}")
        return self._read[name]

    def mapping(self, name: str) -> dict[str, Any]:
        """The content of a file that holds a mapping, empty where it is not there."""
        content = self.json(name)
        if content is not None and not isinstance(content, dict):
            self._problems.append(f"{name} holds no mapping of keys to values; {ANEW}")
            self._read[name] = content = None
        return content or {}

    def transformer(self) -> tuple[str, dict[str, Any]]:
        """The file of sentence-transformers' Transformer and its content, both empty where there is none."""
        name = next(filter(None, map(self.first, _TRANSFORMER_CONFIGS)), "")
        return name, self.mapping(name) if name else {}

    def arguments(self, what: Literal["config", "model", "tokenizer"]) -> dict[str, Any]:
        """What that file says to load a part of the model with."""
        name, config = self.transformer()
        old, new = _ARGUMENTS[what]
        found = config.get(old, config.get(new)) or {}
        if not isinstance(found, dict):
            self._problems.append(f"{name}: its {old if old in config else new} is no mapping; {ANEW}")
            return {}
        return {key: value for key, value in found.items() if key not in _PLACES}

    def whole(self, name: str, *keys: str, least: int = 1) -> int | None:
        """The whole number under the first of the keys that a file has; None where it states none."""
        config = self.mapping(name)
        arguments: dict[str, Any] = {}
        if name == CONFIG:
            arguments = self.arguments("config")
        elif name == TOKENIZER_CONFIG:
            arguments = self.arguments("tokenizer")
        config = config | arguments
        key = next((key for key in keys if config.get(key) is not None), "")
        value = config.get(key)
        name = self.transformer()[0] if key in arguments else name
        if value is None or isinstance(value, list | dict):  # one for each layer says nothing of the whole
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._problems.append(f"{name}: {key}={value!r} is no whole number of at least {least}; {ANEW}")
            return None
        return value

    def modules(self) -> list[tuple[str, str]]:
        """Type and folder of each module in ``modules.json``."""
        content = self.json(MODULES) or []
        found = []
        for entry in content if isinstance(content, list) else [{}]:
            entry = entry if isinstance(entry, dict) else {}  # noqa: PLW2901
            path, kind = entry.get("path", ""), entry.get("type")
            if not isinstance(path, str) or not isinstance(kind, str):
                self._problems.append(f"{MODULES} is no list of modules, each with its type and path; {ANEW}")
                return []
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
                self._problems.append(f"{MODULES} names {path}, a place outside the model's folder; {ANEW}")
                return []
            found.append((kind, path))
        return found


def _modules(files: _Files, stated: dict[str, Fact], problems: list[str]) -> tuple[str, ...]:
    """Pooling, normalisation and dimensions as ``modules.json`` has them; returns the Dense folders."""
    modules = files.modules()
    names = []
    for kind, path in modules:
        name = kind.rpartition(".")[2]
        if not kind.startswith(_OWN):
            problems.append(
                f"{MODULES} names {kind}: code from its repository is never run; choose another model"
            )
        elif name not in _ORDER:
            problems.append(
                f"{MODULES} has a module {name}, which cannot be applied here: valid: {', '.join(_ORDER)}"
            )
        elif name == "Transformer" and path:
            problems.append(
                f"{MODULES} has its Transformer in {path}: load and save the model with a current "
                "sentence-transformers, which puts it beside modules.json"
            )
        names.append(name)
    if not modules or problems:
        return ()
    places = [_ORDER.index(name) for name in names]
    if places != sorted(places) or [names.count(n) for n in ("Transformer", "Pooling")] != [1, 1]:
        problems.append(f"{MODULES} has {', '.join(names)}: valid is {', '.join(_ORDER)}, in this order")
        return ()
    if names.count("Normalize"):
        stated["normalize"] = Fact(True, MODULES)
    _pooling(files, modules[1][1], stated, problems)
    folders = tuple(path for (_, path), name in zip(modules, names, strict=True) if name == "Dense")
    for path in folders:
        _dense(files, path, stated, problems)
    return folders


def _pooling(files: _Files, path: str, stated: dict[str, Fact], problems: list[str]) -> None:
    name = f"{path}/config.json" if path else "pooling's config.json"
    before = len(problems)
    config = files.mapping(name)
    if not config:
        if len(problems) == before:
            problems.append(f"{MODULES} names {path}, but no {name} says how it pools; {ANEW}")
        return
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)] or ["mean"]
    modes = modes if isinstance(modes, list) else [modes]
    if len(modes) != 1 or modes[0] not in [*_POOLING]:
        problems.append(
            f"{name} pools by {' and '.join(map(str, modes))}, which cannot be applied here; valid: one of "
            f"{', '.join(_POOLING)}"
        )
    else:
        stated["pooling"] = Fact(_POOLING[modes[0]], name)
    if config.get("include_prompt") is False:
        problems.append(
            f"{name} leaves the prompt's tokens out of the pooling, which cannot be applied here; choose "
            "another model"
        )
    _size(files, name, ("embedding_dimension", "word_embedding_dimension"), stated, problems)


def _dense(files: _Files, path: str, stated: dict[str, Fact], problems: list[str]) -> None:
    name = f"{path}/config.json"
    before = len(problems)
    config = files.mapping(name)
    activation = str(config.get("activation_function", "Tanh"))
    trusted = activation.startswith("torch.") or activation == "Tanh"
    ports = ("module_input_name", "module_output_name")
    names = {str(config.get(port) or "sentence_embedding") for port in ports}
    if (size := files.whole(name, "out_features")) is None:
        if len(problems) == before:
            problems.append(f"{name} says no out_features: the Dense module cannot be applied; {ANEW}")
    elif not trusted or activation.rpartition(".")[2] not in ACTIVATIONS:
        problems.append(
            f"{name} has the activation {activation}, which cannot be applied here: valid: "
            f"{', '.join(ACTIVATIONS)}"
        )
    elif names != {"sentence_embedding"}:
        problems.append(f"{name}: a Dense module on {' and '.join(sorted(names))} cannot be applied here")
    else:
        _size(files, name, ("in_features",), stated, problems)
        stated["dim"] = Fact(size, name)


def _graph_size(folder: Path, graph: str, stated: dict[str, Fact], problems: list[str]) -> None:
    from harness.artifacts.graphs import hidden_size

    if (size := hidden_size(folder / graph)) is None:
        return
    hidden = stated.setdefault("hidden", Fact(size, graph))
    if hidden.value != size:
        says = f"{hidden.file} says vectors of {hidden.value} dimensions"
        problems.append(of_two_models(says, f"{graph} gives {size}"))


def _size(
    files: _Files, name: str, keys: tuple[str, ...], stated: dict[str, Fact], problems: list[str]
) -> None:
    """Hold the dimensions that a module says it takes against those of the vectors before it."""
    if (size := files.whole(name, *keys)) is None:
        return
    before = stated.get("dim")
    if before is not None and before.value != size:
        says = f"{name} says vectors of {size} dimensions"
        problems.append(of_two_models(says, f"{before.file} {before.value}"))
        del stated["dim"]  # which of the two it is, is not known
    else:
        stated["dim"] = Fact(size, name)


def token_positions(rows: int, model_type: object) -> int:
    """How many places of a table of `rows` a text's tokens can have."""
    return rows - 2 if model_type in OFFSET_POSITIONS else rows


def _transformer(files: _Files, stated: dict[str, Fact], problems: list[str]) -> bool:
    """How long a text may be; returns whether texts are lower-cased."""
    name, config = files.transformer()
    problems += [f"{name} {line}" for line in _inapplicable(config, files.arguments("model"))]
    # An argument of the tokenizer goes before the length beside it.
    if "model_max_length" not in files.arguments("tokenizer"):
        length = files.whole(name, "max_seq_length", least=2)
    else:
        length = files.whole(TOKENIZER_CONFIG, "model_max_length", least=-1)
    if length is not None and 0 < length < _NO_LIMIT:
        stated["max_length"] = Fact(length, name)
    else:
        limits = []
        # -1 and 0 stand for no limit
        positions = files.whole(CONFIG, "max_position_embeddings", "n_positions", least=-1)
        if positions is not None and positions > 0:
            limit = token_positions(positions, files.mapping(CONFIG).get("model_type"))
            limits.append(Fact(limit, CONFIG))
        length = files.whole(TOKENIZER_CONFIG, "model_max_length", least=-1)
        if length is not None and 0 < length < _NO_LIMIT:
            limits.append(Fact(length, TOKENIZER_CONFIG))
        if limits:
            stated["max_length"] = min(limits)
    return bool(config.get("do_lower_case"))


def _inapplicable(config: Mapping[str, Any], weights: Mapping[str, Any]) -> Iterator[str]:
    """What the Transformer's file says that would change vectors and cannot be applied here, a line each."""
    if (task := config.get("transformer_task", "feature-extraction")) != "feature-extraction":
        yield f"has the task {task}: only feature-extraction gives embeddings"
    for key, value in weights.items():
        if key not in _OF_WEIGHTS or value not in (_OF_WEIGHTS[key] or [value]):
            yield f"loads the weights with {key}={value!r}, which cannot be applied here; {ANEW}"
    if (other := config.get("tokenizer_name_or_path")) is not None:
        yield f"takes its tokenizer from {other}; save the model with its tokenizer beside it"
    kinds, calls = config.get("modality_config") or {"text": _AS_TEXT}, config.get("processing_kwargs") or {}
    if not isinstance(kinds, dict) or kinds.get("text") != _AS_TEXT:
        yield f"has the modality_config {kinds}: texts through the whole model alone can be applied here"
    asked = [calls.get(kind) or {} for kind in _CALLS] if isinstance(calls, dict) else [calls]
    if any(not isinstance(part, dict) or set(part) - _IN_A_BATCH for part in asked):
        yield f"has the processing_kwargs {calls}, which cannot be applied here; {ANEW}"


def _prompts(files: _Files, stated: dict[str, Fact], problems: list[str]) -> None:
    config = files.mapping(PROMPTS)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        problems.append(f"{PROMPTS}: its prompts are no texts by name; {ANEW}")
        return
    # As sentence-transformers fills them in: those two every model has, and null is empty.
    prompts = {"query": "", "document": ""} | {name: text or "" for name, text in prompts.items()}
    default = config.get("default_prompt_name")
    if default is not None and default not in [*prompts]:
        problems.append(f"{PROMPTS}: default_prompt_name is {default}, which is none of its prompts; {ANEW}")
        return
    # The names that sentence-transformers' encode_query and encode_document look for, in their order. Empty
    # ones say nothing: sentence-transformers has one for every model, which there (5.7) hides a ``passage``.
    for key, names in (("query", ("query",)), ("document", ("document", "passage", "corpus"))):
        if text := next((prompts[name] for name in names if prompts.get(name)), ""):
            stated[f"prompts.{key}"] = Fact(text, PROMPTS)
    if default is not None:
        stated["prompts.default"] = Fact(prompts[default], PROMPTS)
