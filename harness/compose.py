"""From what was typed to composed, plain values: everything the harness asks of Hydra stands here.

The only importer of hydra and omegaconf, both slow, and only inside the functions that need them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError, nearest, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Keys whose values are paths: quoted before Hydra's grammar sees them, so that any name works.
PATH_KEYS = ("results", "model.path", "policy.file", "quality.sts", "quality.retrieval", "quality.texts")

_EP_OPTIONS = "ep.options."
_PRESETS = "experiments"


def conf_dir() -> Path:
    """The folder with the configuration: inside an installed package, else beside it."""
    return _packaged_or_beside("conf")


def experiments_dir() -> Path:
    """The folder with the presets, found as `conf_dir` is."""
    return _packaged_or_beside("experiments")


def notebooks_dir() -> Path:
    """Where the notebooks are: beside the package in a source tree, inside it in a wheel."""
    return _packaged_or_beside("notebooks")


def _packaged_or_beside(name: str) -> Path:
    package = Path(__file__).resolve().parent
    packaged = package / name
    return packaged if packaged.is_dir() else package.parent / name


def options_of(group: str) -> list[str]:
    """The valid names of a config group, sorted."""
    folder = experiments_dir() if group == _PRESETS else conf_dir() / group
    return sorted(path.stem for path in folder.glob("*.yaml"))


def compose(argv: Sequence[str]) -> list[dict[str, Any]]:
    """Every configuration that `argv` describes, as plain values: one, or each job of a sweep.

    Each holds, under ``words``, the words that describe it alone, those of a preset's own values too.

    Hydra's own flags are Hydra's: ``--help`` and ``--cfg`` print what they print, and none is returned.

    A preset of several YAML documents is as many sweeps in one, for what is no product of lists: an
    execution provider's options beside another provider that does not have them.

    Raises:
        BadInputError: an unknown group, option or key, or a word that Hydra's grammar cannot read.
    """
    import hydra
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    presets = _registered_presets()
    own: Mapping[str, Any] = {}
    collected: list[dict[str, Any]] = []

    unresolved: list[OmegaConfBaseException] = []

    def collect(config: DictConfig) -> None:
        try:
            plain = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:  # raised later: Hydra would print more than it says
            unresolved.append(error)
            return
        assert isinstance(plain, dict)
        task = [_unquoted(word) for word in HydraConfig.get().overrides.task]
        described = {"words": [*_words_of(own, task), *task]}
        collected.append({str(key): value for key, value in plain.items()} | described)

    # In front, where Hydra reads its flag wherever it was typed.
    words = sorted(quote_paths(argv), key=lambda word: word not in ("-m", "--multirun"))
    with tempfile.TemporaryDirectory(prefix="harness-hydra-") as scratch:
        OmegaConf.register_new_resolver("harness_scratch", lambda: scratch, replace=True)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed with exit 1
        # It composes every job once before the first one starts; here no job does more than be composed.
        BasicSweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
        task = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
        try:
            _require_options(words)
            preset = next((word for word in words if word.startswith(f"{_PRESETS}=")), "").partition("=")[2]
            for own in presets.get(preset, [{}]):
                if own:
                    _register(preset, own)
                sys.argv[1:] = words
                task(collect)()
            if unresolved:
                raise unresolved[0]
        except (HydraException, OmegaConfBaseException) as error:
            raise _explained(error, words) from None
    return collected


def quote_paths(argv: Sequence[str]) -> list[str]:
    """Quote the values of `PATH_KEYS`, whose characters Hydra's grammar would otherwise read."""
    quoted = []
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and key in PATH_KEYS and value and value[0] not in "'\"" and value != "null":
            # Hydra reads a backslash as an escape only before a quote, the closing one included.
            escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", r"\'"), value)
            literal = escaped.replace("${", r"\${")  # no reference to another key
            word = f"{key}='{literal}'"  # noqa: PLW2901
        quoted.append(word)
    return quoted


def _unquoted(word: str) -> str:
    """A word as `quote_paths` found it."""
    key, _, value = word.partition("=")
    if key in PATH_KEYS and len(value) > 1 and value[0] == value[-1] == "'":
        value = value.replace(r"\${", "${")
        inner = re.sub(r"(\\+)('|$)", lambda m: m[1][: len(m[1]) // 2] + m[2], value[1:-1])
        word = f"{key}={inner}"
    return word


def _registered_presets() -> dict[str, list[dict[str, Any]]]:
    """Each file of `experiments/`, an option of the Hydra group ``experiments``, as its YAML documents.

    Raises:
        BadInputError: a preset is not readable YAML.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    presets: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(experiments_dir().glob("*.yaml")):
        try:
            documents = path.read_text(encoding="utf-8").split("\n---\n")
            presets[path.stem] = [_plain(OmegaConf.create(document)) for document in documents]
        except (OSError, YAMLError) as error:
            reason = " ".join(str(error).split())
            raise BadInputError(f"experiments/{path.name} cannot be read: {reason}") from None
        _register(path.stem, presets[path.stem][0])
    return presets


def _plain(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node)
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def _register(preset: str, values: dict[str, Any]) -> None:
    """Make a preset's values, of one of its documents, what its name stands for."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(
        group=_PRESETS, name=preset, node=values, package="_global_", provider=_PRESETS
    )


def _words_of(preset: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """The words that say what a preset sets by itself, but for what was typed beside it."""
    keys = [word.lstrip("+~").partition("=")[0] for word in typed]
    chosen = {
        key.rpartition("/")[2]: value
        for entry in preset.get("defaults", ())
        if isinstance(entry, dict)
        for key, value in entry.items()
    }
    own = {key: value for key, value in preset.items() if key not in ("hydra", "defaults")}
    leaves = {key: value for key, value in _flat(own) if not isinstance(value, dict)}
    return [
        _unquoted(f"{key}={_as_word(value)}")
        for key, value in {**chosen, **leaves}.items()
        if not any(key == other or ("." in other and key.startswith(f"{other}.")) for other in keys)
    ]


def _as_word(value: Any) -> str:
    """A plain value as Hydra reads it in a word."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_as_word, value))}]"
    if isinstance(value, str) and not re.fullmatch(r"[\w./:+-]+", value):
        return "'" + value.replace("'", r"\'") + "'"
    return str(value)


def _require_options(words: Sequence[str]) -> None:
    """Refuse what Hydra would take, or end with a defect, where a group's option is to be named.

    Raises:
        BadInputError: a list or no name in the place of a group's option; a glob that matches no name, over
            which nothing would be swept; several presets, of which Hydra would apply one or none.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString, Sweep

    presets: list[str] = []
    typed = [word for word in words if "=" in word and word[0] not in "-~"]
    for override in OverridesParser.create().parse_overrides(typed):
        group, value, word = override.key_or_group, override.value(), override.input_line
        names = options_of(group)
        if isinstance(value, Glob) and not value.filter(names):
            remedy = f"valid: {', '.join(names)}" if names else f"it has no names; give {group}=A,B"
            raise BadInputError(f"{word}: matches nothing; {remedy}")
        if not names:
            continue
        several = isinstance(value, list | Glob | Sweep)
        if group == _PRESETS:
            presets.append(str(word))
            if several or len(presets) > 1:
                raise BadInputError(
                    f"{' '.join(presets)}: a preset is a sweep of its own; take one at a time"
                )
        if isinstance(value, list) or (isinstance(value, Sweep) and not isinstance(value, ChoiceSweep)):
            raise BadInputError(f"{word}: takes a name; several are a sweep, as in -m {group}=A,B")
        given = value.list if isinstance(value, ChoiceSweep) else [] if several else [value]
        for name in given:
            if not isinstance(name, str | QuotedString | dict):
                raise BadInputError(unknown_name(group, _as_word(name), names))


def _explained(error: Exception, words: Sequence[str]) -> BadInputError:
    """Hydra's or OmegaConf's own error as one line with the nearest valid names."""
    from hydra.errors import MissingConfigException, OverrideParseException

    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return BadInputError(unknown_name(group or "configuration", option, options_of(group)))
    if isinstance(error, OverrideParseException):
        remedy, (name, _, value) = "quote its value, as in key='a b'", str(error.override).partition("=")
        if re.match(r"\w+\(", value):  # a function of Hydra's
            remedy = f"give the values of a sweep, as in -m {name}=A,B, or quote it as a text"
        return BadInputError(f"'{error.override}' cannot be read: {remedy}")
    several = re.search(r"Ambiguous value for argument '(.+?)' 1\.|Sweep parameters '(.+)' requires", text)
    if several is not None:
        word = several[1] or several[2]
        name, _, values = word.partition("=")
        if several[1] and isinstance(_defaults(words).get(name), list):
            return BadInputError(f"{word}: a list is written in brackets; give {name}=[{values}]")
        return BadInputError(f"{word}: several values are a sweep; give -m (--multirun) too, or one of them")
    misfit = re.fullmatch(r"Error merging override ([^=]+)=(.*)", text)
    if misfit is not None:
        name, value = misfit.groups()
        default = _defaults(words).get(name)
        if isinstance(default, dict):
            return BadInputError(f"{name}={value}: takes keys with their values; give {name}.KEY=VALUE")
        usual = str(default).replace(" ", "").replace("None", "null")
        return BadInputError(f"{name}={value}: takes another kind of value, as {name}={usual}")
    key = re.search(r"Could not override '([^']+)'", text) or re.search(
        r"not in struct full_key: (\S+)", text
    )
    if key is not None:
        inner = re.search(r"not in struct\s+full_key: (\S+)", str(error.__cause__))
        name, valid = key.group(1), list(_defaults(words))
        if inner is not None and inner[1].startswith(f"{name}."):  # of a mapping that was given whole
            name = inner[1]
        if name.startswith(_EP_OPTIONS):
            options = [other.removeprefix(_EP_OPTIONS) for other in valid if other.startswith(_EP_OPTIONS)]
            return BadInputError(unknown_ep_option(name.removeprefix(_EP_OPTIONS), options))
        return BadInputError(unknown_name("key", name, valid))
    if error.__cause__ is not None:
        text = f"{text} {' '.join(str(error.__cause__).split())}"
    return BadInputError(text)


def unknown_ep_option(name: str, valid: Sequence[str]) -> str:
    """One line on an option that an execution provider does not have: the nearest that it has."""
    unknown = f"unknown key '{_EP_OPTIONS}{name}'"
    if not valid:
        return f"{unknown}: this execution provider takes no options"
    if close := nearest(name, valid):
        return f"{unknown}: did you mean {' or '.join(f'{_EP_OPTIONS}{option}' for option in close)}?"
    return f"{unknown}: valid: {', '.join(f'{_EP_OPTIONS}{option}' for option in valid)}"


def _defaults(words: Sequence[str]) -> dict[str, Any]:
    """Every dotted key under the groups that `words` chooses, with the value it has there."""
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    groups = [path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra"]
    choices = []
    for word in words:
        group, _, option = word.partition("=")
        if group in groups and option in options_of(group):
            choices.append(word)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose_config("config", overrides=choices)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return dict(_flat({str(key): value for key, value in plain.items()}))


def _flat(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        dotted = f"{prefix}{key}"
        yield dotted, value
        if isinstance(value, dict):
            yield from _flat(value, f"{dotted}.")
