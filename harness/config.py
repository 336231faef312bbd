"""From composed, plain values to the frozen plan of a run, checked against the schema.

All value errors are told together, each on a line of its own, before anything else starts.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.artifacts.local import local_facts
from harness.artifacts.modules import NEEDED_FACTS, completed, contradictions, hub_facts
from harness.artifacts.twin import vocabulary_misfit
from harness.compose import conf_dir, options_of, unknown_ep_option
from harness.datasets import read_retrieval, read_sts, read_texts
from harness.errors import BadInputError, nearest, unknown_name
from harness.paths import EMPTY_RESULTS, typed_path, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import yaml
    from pydantic_core import ErrorDetails

from harness.schema import (
    Config,
    EpConfig,
    MeasureConfig,
    ModelConfig,
    PolicyConfig,
    PrecisionConfig,
    QualityConfig,
    Schema,
    SessionConfig,
    WorkloadConfig,
)
from harness.units import exact_number, number_in

# Parts of a workload that have columns of their own: changing them does not change its name.
_ARRIVAL_KEYS = {"clients", "arrival", "rate"}
# Where a model's weights come from has columns of its own too.
_UNNAMED_KEYS = {*_ARRIVAL_KEYS, "weights"}
# A repository on the hub; the oldest ones have no organisation.
_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
# What the values of a fact do that is asked for, where its name does not say.
_MEANT = {
    "model.normalize": " (no Normalize module says it): true makes vectors of length 1, with the same "
    "cosines and other dot products; false leaves them as sentence-transformers gives them"
}
_SchemaT = TypeVar("_SchemaT", bound=Schema)
_NamedT = TypeVar("_NamedT", ModelConfig, PrecisionConfig, WorkloadConfig, PolicyConfig)


def _misfits(
    model: ModelConfig | None,
    workload: WorkloadConfig | None,
    measure: MeasureConfig | None,
    policy: PolicyConfig | None,
) -> list[str]:
    """What does not fit together among the parts that are valid by themselves (None where not)."""
    problems = []
    if model and workload and workload.tokens is not None and workload.tokens > model.max_length:
        problems.append(
            f"workload.tokens={workload.tokens}: {model.name} reads {model.max_length} tokens at most; "
            "choose a shorter workload"
        )
    for key, paced in (("workload.rate", workload), ("measure.rate", measure)):
        if measure and paced and paced.rate is not None:
            lasts_s = measure.requests / paced.rate
            if lasts_s > measure.launch_timeout_s:
                problems.append(
                    f"{key}={exact_number(paced.rate)}: {measure.requests} requests take {lasts_s:.0f} s, "
                    f"over measure.launch_timeout_s={exact_number(measure.launch_timeout_s)}; raise that"
                )
    if measure and workload and measure.purpose == "soak" and (workload.clients, workload.rate) != (1, None):
        problems.append("measure=soak serves one caller back to back; leave workload.clients and arrival out")
    if measure and measure.purpose == "soak" and measure.launches not in (None, 1):
        problems.append(
            f"measure.launches={measure.launches}: a soak run is one launch; measure.replicate=N is another "
            "one beside it"
        )
    if measure:
        if measure.min_launches > measure.max_launches:
            problems.append(
                f"measure.min_launches={measure.min_launches}: "
                f"more than measure.max_launches={measure.max_launches}"
            )
        needed = max(gate.launches_to_pass for gate in policy.gates) if policy else 0
        if policy and measure.launches is None and measure.max_launches < needed:
            problems.append(
                f"measure.max_launches={measure.max_launches}: policy {policy.name} cannot pass with fewer "
                f"than {needed} launches; raise it, or fix measure.launches=N to look without a verdict"
            )
    return problems


def _unconfirmed(measure: MeasureConfig, words: Sequence[object]) -> list[str]:
    """What was asked of a confirmation that is none, and would be left out silently."""
    if measure.purpose == "confirm":
        return []
    asked = (
        []
        if measure.rate is None
        else [("rate", exact_number(measure.rate), "workload.arrival=poisson workload.rate")]
    )
    typed = [str(word).lstrip("+").partition("=") for word in words]
    if ("measure.purpose", "=", "search") in typed:
        return ["measure.purpose=search: what confirming does by itself; give measure=confirm"]
    asked += [("clients", value, "workload.clients") for key, _, value in typed if key == "measure.clients"]
    return [
        f"measure.{key}={value}: belongs to measure=confirm; add that, or load a plain run by {plain}=N"
        for key, value, plain in asked
    ]


def _other_model(model: ModelConfig, words: Sequence[object]) -> list[str]:
    """Where a model that is measured under a shipped name would be told as another repository or commit."""
    if model.name not in options_of("model"):
        return []
    shipped = yaml_of(conf_dir() / "model" / f"{model.name}.yaml")
    if shipped["id"] is None:  # custom, which is what the user says
        return []
    if model.id != shipped["id"]:
        if f"model.name={model.name}" in map(str, words):
            return [
                f"model.name={model.name}: stands for {shipped['id']}; give a name that no configured model "
                "has, or leave it out"
            ]
        return [
            f"model.id={model.id}: model={model.name} is {shipped['id']}; give model=custom "
            f"model.id={model.id}"
        ]
    bundled = any(source.kind == "bundled" for source in model.sources)
    if bundled and model.path is None and model.revision != shipped["revision"]:
        return [
            f"model.revision={model.revision}: the package that brings {model.name} has "
            f"{shipped['revision']}; give model=custom model.id={model.id} model.revision={model.revision}"
        ]
    return []


def _twin_misfits(model: ModelConfig) -> list[str]:
    """What a model of random weights cannot be built from."""
    if model.weights != "random":
        return []
    needed = ("layers", "hidden", "heads", "vocab_size", "architecture")
    problems = [
        f"model.{key}: missing; model.weights=random is built from it, give model.{key}=VALUE"
        for key in needed
        if getattr(model, key) is None
    ]
    whole, parts = ("hidden", model.hidden), ("heads", model.heads)
    if model.architecture is not None and model.architecture.kv_heads is not None:  # heads have a width
        whole, parts = parts, ("architecture.kv_heads", model.architecture.kv_heads)
    if whole[1] and parts[1] and whole[1] % parts[1]:
        problems.append(
            f"model.{parts[0]}={parts[1]}: model.{whole[0]}={whole[1]} is no multiple of it; give a "
            "number that divides it"
        )
    if model.hidden is not None and model.hidden != model.dim:
        problems.append(f"model.dim={model.dim}: vectors of random weights have model.hidden={model.hidden}")
    if (shape := model.architecture) is None:
        return problems
    if model.vocab_size is not None and (misfit := vocabulary_misfit(shape.family, model.vocab_size)):
        problems.append(misfit)
    if shape.head_dim is not None and shape.head_dim % 2:
        problems.append(
            f"model.architecture.head_dim={shape.head_dim}: rotary angles take its numbers in pairs; give an "
            "even one"
        )
    if shape.positions < model.max_length:
        problems.append(
            f"model.max_length={model.max_length}: more than model.architecture.positions={shape.positions}"
        )
    return problems


def _ep_misfits(ep: EpConfig) -> list[str]:
    """What an EP's options and choices have that its shipped file has not."""
    if ep.name not in options_of("ep"):
        return []  # told as an unknown name
    shipped = _load(EpConfig, conf_dir() / "ep" / f"{ep.name}.yaml")
    unknown = sorted(set(ep.options) - set(shipped.options))
    problems = [f"ep={ep.name}: {unknown_ep_option(key, list(shipped.options))}" for key in unknown]
    if (ep.choices, ep.threads_option) != (shipped.choices, shipped.threads_option):
        problems.append(f"ep.choices: ep={ep.name} stands for its own; change conf/ep/{ep.name}.yaml instead")
    return problems


def _shape_misfits(
    session: SessionConfig, model: ModelConfig | None, workload: WorkloadConfig | None, batch_size: object
) -> list[str]:
    """Where static shapes hold less than is asked of them, or more than the model reads."""
    shapes, problems = session.static_shapes, []
    texts, length = shapes.batch_size, shapes.sequence_length
    if texts is not None and isinstance(batch_size, int) and batch_size > texts:
        problems.append(
            f"batch_size={batch_size}: session.static_shapes.batch_size={texts} takes at most that"
        )
    if length is not None and model and length > model.max_length:
        problems.append(
            f"session.static_shapes.sequence_length={length}: {model.name} reads {model.max_length} tokens "
            "at most; give at most that"
        )
    if length is not None and workload and workload.tokens is not None and workload.tokens > length:
        problems.append(
            f"workload.tokens={workload.tokens}: session.static_shapes.sequence_length={length} takes at "
            "most that; nothing is cut off"
        )
    return problems


def validate(raw: Mapping[str, Any]) -> Config:
    """A composed configuration as a frozen plan.

    A model of the user's own is completed from what its files say; for one on a hub they are downloaded.

    Raises:
        BadInputError: with every problem there is, a line each.
        ModelUnavailableError: the hub has to be asked what the model is, and cannot be.
    """
    raw, of_policy = _with_own_policy(raw)
    raw, problems = _completed(raw)
    undescribed = bool(problems)
    problems += of_policy
    tampered = _tampered(raw)
    problems += tampered
    config = None
    try:
        config = Config.model_validate({k: v for k, v in raw.items() if k != "experiments"})
    except ValidationError as error:
        found = _problems(error, Config, raw)
        # What its files would have said is not asked for beside the reason why they could not be read, and
        # nothing of a part that is another one than its name says.
        changed = tuple(f"{line.partition('.')[0]}." for line in tampered)
        problems += [
            p
            for p in found
            if not (undescribed and p.startswith("model.") and ": missing" in p) and not p.startswith(changed)
        ]
    problems += _misfits(
        _valid(ModelConfig, raw, "model"),
        _valid(WorkloadConfig, raw, "workload"),
        _valid(MeasureConfig, raw, "measure"),
        _valid(PolicyConfig, raw, "policy"),
    )
    if measured := _valid(MeasureConfig, raw, "measure"):
        problems += _unconfirmed(measured, raw.get("words", []))
    if described := _valid(ModelConfig, raw, "model"):
        problems += _unfit_dim(described, raw.get("dim")) + _twin_misfits(described)
        problems += _other_model(described, raw.get("words", []))
    if ep := _valid(EpConfig, raw, "ep"):
        problems += _ep_misfits(ep)
    if session := _valid(SessionConfig, raw, "session"):
        model, workload = _valid(ModelConfig, raw, "model"), _valid(WorkloadConfig, raw, "workload")
        problems += _shape_misfits(session, model, workload, raw.get("batch_size"))
    if quality := _valid(QualityConfig, raw, "quality"):
        problems += _unreadable(quality)
    if config is None or problems:
        raise BadInputError(*problems)
    policy = raw["policy"]
    return config.model_copy(
        update={
            "model": _settled(config.model, config.dim),
            "precision": _renamed(config.precision, "precision"),
            "workload": _renamed(config.workload, "workload"),
            "policy": policy if isinstance(policy, PolicyConfig) else _renamed(config.policy, "policy"),
        }
    )


def _with_own_policy(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A composed configuration with the policy of the user's own file, if one is given, and its problems.

    The words then name that file by its absolute path: a command that is told works in any directory.
    """
    plain, policy = dict(raw), raw.get("policy")
    if not isinstance(policy, dict):
        return plain, []
    plain["policy"] = {key: value for key, value in policy.items() if key != "file"}
    if not policy.get("file"):
        return plain, []
    file = str(policy["file"])
    words = [str(word) for word in raw.get("words", [])]
    of_policy = [word for word in words if word.lstrip("+").startswith("policy")]
    if others := [word for word in of_policy if not word.startswith("policy.file=")]:
        return plain, [f"{others[0]}: policy.file={file} is a whole policy; leave one of them out"]
    try:
        plain["policy"] = load_policy(file=file)
    except BadInputError as error:
        return plain, list(error.problems)
    absolute = typed_path(file).resolve()
    plain["words"] = [f"policy.file={absolute}" if word in of_policy else word for word in words]
    return plain, []


def _unreadable(quality: QualityConfig) -> list[str]:
    """What is wrong with the files that quality is to be measured on."""
    problems = []
    readers: dict[str, Callable[[str], object]] = {
        "sts": read_sts,
        "retrieval": read_retrieval,
        "texts": read_texts,
    }
    for key, read in readers.items():
        try:
            if (file := getattr(quality, key)) is not None:
                read(file)
        except BadInputError as error:
            problems += [f"quality.{key}: {problem}" for problem in error.problems]
    return problems


def _unfit_dim(model: ModelConfig, dim: Any) -> list[str]:
    if not isinstance(dim, int) or dim < 1:  # told by the schema
        return []
    if dim == model.truncate_dim:  # as the model's own files say
        return []
    if model.matryoshka is None:
        return [f"dim={dim}: {model.name}'s vectors were not trained to be cut; leave dim out"]
    least, most = model.matryoshka
    if least <= dim <= most:
        return []
    return [f"dim={dim}: {model.name}'s vectors can be cut to {least} to {most} dimensions"]


def _completed(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A composed configuration with what its model's own files say, and what is wrong with those."""
    plain, model = dict(raw), raw.get("model")
    if not isinstance(model, dict):
        return plain, []
    path, repo, revision = model.get("path"), model.get("id"), model.get("revision")
    if model.get("weights") == "trained" and not (path or repo or model.get("sources")):
        unsaid = (
            f"model={model.get('name')}: which model is not said; give model.path=DIR or model.id=ORG/NAME"
        )
        return plain | {"model": completed(model, None)}, [unsaid]
    if path and repo and model.get("name") == "custom":
        both = f"model.path={path} and model.id={repo} are two models; give one of them, leave the other out"
        return plain | {"model": completed(model, None)}, [both]
    open_facts = any(key in model and model[key] is None for key in NEEDED_FACTS)
    facts, problems = None, []
    nameless = f"model.id={repo}: no repository's name; give model.id=ORG/NAME, or model.path=DIR"
    try:
        if isinstance(path, str):
            if open_facts or typed_path(path).is_dir():  # else told where the files are needed
                facts = local_facts(path)
        elif isinstance(repo, str) and not _HUB_ID.fullmatch(repo):
            problems = [nameless]
        elif open_facts and not isinstance(repo, str | None):
            problems, model = [nameless], model | {"id": None}  # told once
        elif open_facts and not isinstance(revision, str | None):
            problems = [f"model.revision={revision}: not a text; give it in quotes, 'model.revision=\"...\"'"]
            model = model | {"revision": None}
        elif isinstance(repo, str) and open_facts:
            graphs = bool(model.get("sources"))  # each of which is looked at when it is tried
            facts = hub_facts(repo, revision, exported=graphs, tell=lambda _what, _left_s: None)
    except BadInputError as error:
        problems = list(error.problems)
    if facts is not None:
        problems += contradictions(model, facts)
    plain["model"] = completed(model, facts)
    if isinstance(repo, str) and not path and model.get("sources") == []:
        plain["model"]["sources"] = [{"kind": "hub"}]
    return plain, problems


def _tampered(raw: Mapping[str, Any]) -> list[str]:
    """Facts that a name stands for and that no word may change under it."""
    problems = []
    for group, schema, key in (
        ("ep", EpConfig, "provider"),
        ("precision", PrecisionConfig, "method"),
        ("precision", PrecisionConfig, "parity_cosine_min"),
    ):
        part = raw.get(group)
        if not isinstance(part, dict) or part.get("name") is None or key not in part:
            continue  # told by the schema
        if (name := str(part["name"])) not in options_of(group):
            problems.append(unknown_name(group, name, options_of(group)))
            continue
        found, fact = part[key], getattr(_load(schema, conf_dir() / group / f"{name}.yaml"), key)
        if found != fact:
            problems.append(
                f"{group}.{key}={found}: {group}={name} stands for {fact}; choose another {group}, or "
                f"add one in conf/{group}/"
            )
    return list(dict.fromkeys(problems))


def _settled(model: ModelConfig, dim: int | None) -> ModelConfig:
    """A model by the name that its facts give it, its vectors cut where that is asked or its files say so."""
    cut = dim or model.truncate_dim
    truncate_dim = None if cut is None or cut >= model.dim else cut
    return _renamed(model, "model").model_copy(update={"truncate_dim": truncate_dim})


def _renamed(part: _NamedT, group: str) -> _NamedT:
    """A part that differs from the shipped one of its name gets a name of its own: ``default+1f3a``.

    So a gate meant for the shipped workload never reads another one, and no verdict carries the name of
    a policy that was changed. A workload of a fixed length is named by its length, whatever it is.
    """
    facts = part.model_dump(exclude=_UNNAMED_KEYS)
    if part.name in options_of(group):
        raw = yaml_of(conf_dir() / group / f"{part.name}.yaml")
        try:
            shipped = type(part).model_validate(raw).model_dump(exclude=_UNNAMED_KEYS)
        except ValidationError:  # a shipped file that leaves facts to the user, as custom does
            shipped = {}
        if shipped == facts:
            return part
        if {key for key in shipped if shipped[key] != facts[key]} == {"tokens"}:
            return part.model_copy(update={"name": f"tokens_{facts['tokens']}"})
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:4]
    return part.model_copy(update={"name": f"{part.name}+{digest}"})


def _valid(schema: type[_SchemaT], raw: Mapping[str, Any], key: str) -> _SchemaT | None:
    try:
        return schema.model_validate(raw.get(key))
    except ValidationError:
        return None


def load_policy(name: str = "default", *, file: str | Path | None = None) -> PolicyConfig:
    """A shipped policy by name, or the user's own from a YAML file.

    One that bears a shipped policy's name without being the same gets a name of its own.

    Raises:
        BadInputError: unknown name, a name beside a file, unreadable file, or any wrong value, a line each.
    """
    if file is not None:
        if name != "default":
            raise BadInputError(f"policy={name}: policy.file is a whole policy; leave one of them out")
        own = _load(PolicyConfig, typed_path(file))
        return _renamed(own, "policy") if own.name in options_of("policy") else own
    return _load(PolicyConfig, _option("policy", name))


def load_model(name: str) -> ModelConfig:
    """A configured model by name.

    Raises:
        BadInputError: unknown name, or that of a model of the user's own, which is a folder.
    """
    if name == "custom":
        raise BadInputError(
            "custom is no model by itself: give the path of your model's or artifact's folder"
        )
    return _load(ModelConfig, _option("model", name))


def own_model(path: str | Path, *, normalize: bool | None = None) -> ModelConfig:
    """The model in a folder of the user's own, as ``model=custom model.path=PATH`` measures it.

    Args:
        path: of the folder.
        normalize: as ``model.normalize=`` there; None leaves it to the folder's files.

    Raises:
        BadInputError: its files cannot be used, do not say all that is needed, or contradict `normalize`.
    """
    typed, facts = yaml_of(_option("model", "custom")), local_facts(path)
    typed |= {"path": str(path), "normalize": normalize}
    if problems := contradictions(typed, facts):
        raise BadInputError(*(f"model.path={path}: {line}" for line in problems))
    raw = completed(typed, facts)
    if unsaid := [key for key in NEEDED_FACTS if raw[key] is None and key != "normalize"]:
        raise BadInputError(
            f"model.path={path}: its files do not say {' and '.join(unsaid)}; measure it with "
            f"model.{unsaid[0]}=VALUE, and load the artifact's folder that the run names"
        )
    if raw["normalize"] is None:  # which can be said here
        asked = f"normalize: missing; give normalize=VALUE{_MEANT['model.normalize']}"
        raise BadInputError(f"model.path={path}: {asked}")
    try:
        return _settled(ModelConfig.model_validate(raw), None)
    except ValidationError as error:
        raise BadInputError(
            *(f"model.path={path}: {line}" for line in _problems(error, ModelConfig, raw))
        ) from None


def load_precision(name: str) -> PrecisionConfig:
    """A configured precision by name.

    Raises:
        BadInputError: unknown name.
    """
    return _load(PrecisionConfig, _option("precision", name))


def load_ep(name: str) -> EpConfig:
    """A configured execution provider by name.

    Raises:
        BadInputError: unknown name.
    """
    return _load(EpConfig, _option("ep", name))


def _option(group: str, name: str) -> Path:
    if name not in options_of(group):
        raise BadInputError(unknown_name(group, name, options_of(group)))
    return conf_dir() / group / f"{name}.yaml"


def yaml_of(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        BadInputError: it cannot be read, or holds something else.
    """
    import yaml

    try:
        raw, problems = deepcopy(_parsed(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(unreadable(file, error)) from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInputError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadInputError(f"{file} holds no mapping of keys to values")
    if problems:
        raise BadInputError(*(f"{file}: {line}" for _, line in problems))
    return raw


@lru_cache(maxsize=128)
def _parsed(text: str) -> tuple[Any, list[tuple[int, str]]]:
    """What YAML reads, and what is wrong with it, by line.

    Kept by the text itself: a sweep reads the same few files again for every run, and PyYAML is slow.
    """
    import yaml

    raw = yaml.safe_load(text)
    nodes = list(_nodes_of(yaml.compose(text, Loader=yaml.SafeLoader)))
    return raw, sorted([*_keys_that_stand_twice(nodes), *_misread_numbers(nodes)])


def _nodes_of(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Each node of a YAML document once; an alias may lead back."""
    import yaml

    open_nodes, seen = [root], set()
    while open_nodes:
        node = open_nodes.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            open_nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            open_nodes += node.value


def _misread_numbers(nodes: Iterable[yaml.Node]) -> list[tuple[int, str]]:
    """Numbers that YAML takes for something else, by line: ``030`` is 24, ``1:30`` is 90, ``1e2`` a text."""
    import yaml

    tags = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    told = []
    for node in nodes:
        if isinstance(node, yaml.ScalarNode) and node.tag in tags:
            read, line = yaml.safe_load(node.value), node.start_mark.line + 1
            if isinstance(read, int) and abs(read) > sys.float_info.max:
                digits = len(node.value.lstrip("+-"))
                told.append(
                    (
                        line,
                        f"line {line}: a number of {digits} digits is beyond 1.8e308, the largest; give a "
                        "smaller one",
                    )
                )
            elif isinstance(read, int | float) and math.isfinite(read) and read != number_in(node.value):
                told.append((line, f"line {line}: YAML reads {node.value} as {read}; give plain decimals"))
        elif isinstance(node, yaml.ScalarNode) and node.style is None and number_in(node.value) is not None:
            line = node.start_mark.line + 1
            told.append(
                (line, f"line {line}: YAML reads {node.value} as text; give plain decimals, or quotes")
            )
    return told


def _keys_that_stand_twice(nodes: Iterable[yaml.Node]) -> list[tuple[int, str]]:
    """The keys of mappings that stand more than once, by line; YAML's last one would count."""
    import yaml

    told: list[tuple[int, str]] = []
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, list[int]] = {}
        for key, _ in node.value:
            lines.setdefault(str(key.value), []).append(key.start_mark.line + 1)
        told += [
            (at[0], f"{key} stands more than once, in lines {', '.join(map(str, at))}; keep one of them")
            for key, at in lines.items()
            if len(at) > 1
        ]
    return told


def _load(schema: type[_SchemaT], file: Path) -> _SchemaT:
    raw = yaml_of(file)
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise BadInputError(*(f"{file}: {line}" for line in _problems(error, schema, raw))) from None


def parse_words(argv: Sequence[str], *, defaults: Mapping[str, str]) -> dict[str, str]:
    """The `key=value` words of the smaller commands, over their defaults.

    Raises:
        BadInputError: a word without ``=`` or with an unknown key, or no folder of results, a line each.
    """
    words = dict(defaults)
    problems = []
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals:
            problems.append(f"'{word}' is not key=value: valid keys: {', '.join(sorted(defaults))}")
        elif key not in defaults:
            problems.append(unknown_name("key", key, list(defaults)))
        else:
            words[key] = value
    if words.get("results") == "":
        problems.append(EMPTY_RESULTS)
    if problems:
        raise BadInputError(*problems)
    return words


def _problems(error: ValidationError, schema: type[BaseModel], raw: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    for detail in error.errors():
        problems += [f"{line}{_item(detail, raw)}" for line in _problem(detail, schema).splitlines()]
    return list(dict.fromkeys(problems))


def _item(detail: ErrorDetails, raw: Any) -> str:
    """Which gate or criterion of a list a problem is in, in words: its number says little."""
    told = ""
    for part in detail["loc"]:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(part, int) and isinstance(raw, dict) and "metric" in raw:
            told = f" ({' '.join(str(raw[key]) for key in ('tier', 'metric') if key in raw)})"
    return told


def _problem(detail: ErrorDetails, schema: type[BaseModel]) -> str:
    kind, value, limits = detail["type"], detail["input"], detail.get("ctx", {})
    parts = [str(part) for part in detail["loc"] if not str(part).startswith(("list[", "function-"))]
    parts = [part for part in parts if part not in {"int", "str", "float"}]
    key = ".".join(parts)
    if kind == "extra_forbidden":
        *within, name = detail["loc"]
        if (item := _item_schema(schema, within)) is not None:
            return f"{'.'.join(parts[:-1])}: {unknown_name('key', str(name), list(_fields(item)))}"
        return unknown_name("key", key, list(_fields(schema)))
    if kind == "missing":
        return f"{key}: missing; give {key}=VALUE"
    if kind == "value_error":
        message = str(limits["error"])
        return message if not key or "=" in message.split(":", maxsplit=1)[0] else f"{key}: {message}"
    if kind in {"dict_type", "model_type"}:
        return f"{key}={value}: takes keys with their values; give {key}.KEY=VALUE"
    if value is None:
        return f"{key}: missing; give {key}=VALUE{_MEANT.get(key, '')}"
    shown = f"{key}={value!r}"
    plain = {
        "int_type": "not a whole number",
        "int_parsing": "not a whole number",
        "int_from_float": "not a whole number",
        "float_type": "not a number",
        "float_parsing": "not a number",
        "finite_number": "not a finite number",
        "bool_type": "neither true nor false",
        "string_type": "not a text",
    }
    if kind in plain:
        return f"{shown}: {plain[kind]}"
    if kind == "string_pattern_mismatch":
        wrong = "of more than one line" if str(value).strip() else "empty"
        return f"{shown}: {wrong}; give {key}=NAME"
    if kind == "list_type":
        return f"{shown}: not a list; give {key}=[{value}]"
    if kind in {"too_short", "too_long"}:
        least, most = limits.get("min_length"), limits.get("max_length")
        count = f"at least {least}" if kind == "too_short" else f"at most {most}"
        return f"{shown}: must have {count} in it, as {key}=[A,B]"
    if kind in {"greater_than_equal", "greater_than", "less_than_equal", "less_than"}:
        word, bound = next(iter(limits.items()))
        words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        return f"{shown}: must be {words[word]} {bound}"
    if kind == "literal_error":
        close = nearest(str(value), re.findall("'(.*?)'", str(limits["expected"])), alike=0.6)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        return f"{shown}: {meant}valid: {limits['expected']}"
    return f"{shown}: {detail['msg']}"


def _item_schema(schema: type[BaseModel], within: Sequence[str | int]) -> type[BaseModel] | None:
    """What an item of a list is, or a part of such an item; None where no list is on the way."""
    found: type[BaseModel] | None = schema
    for part in within:
        if isinstance(part, str) and found is not None:
            field = found.model_fields.get(part)
            kinds = () if field is None else (field.annotation, *get_args(field.annotation))
            models = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
            found = next(models, None)
    return found if any(isinstance(part, int) for part in within) else None


def _fields(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{prefix}{name}.")
