"""Tasks of the package mteb, evaluated through a run's own session.

The package and all that it brings are imported inside the functions: only a worker of its own runs them.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from harness.errors import BadInputError, ProbeError, RuntimeUnavailableError, UnavailableError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

MTEB_COLUMNS = ("mteb_scores", "mteb_version")


class Infer(Protocol):
    """The vectors of one request, float32 [n_texts, dim], with one of the model's own prompts."""

    def __call__(self, texts: list[str], *, prompt: str) -> NDArray[np.float32]:
        """Encode."""
        ...


class Scores(NamedTuple):
    """What was found of tasks.

    `scores` has the main score of each task, the mean over its splits and languages; None where it is not a
    number, or the task could not be evaluated, and then `problems` says why, a line a task.
    """

    scores: dict[str, float | None]
    problems: list[str]
    version: str


def require_mteb() -> None:
    """Refuse to begin without the package.

    Raises:
        RuntimeUnavailableError: it is not installed.
    """
    if find_spec("mteb") is None:
        raise RuntimeUnavailableError(
            "quality.mteb needs the package mteb: pip install 'embedding-harness[mteb]'"
        )


def require_tasks(names: Sequence[str]) -> None:
    """Find out, before anything is measured, whether tasks exist and their data can be had.

    All names are asked before any data is loaded, which may download it.

    Raises:
        RuntimeUnavailableError: the package is not installed.
        BadInputError: it has no such task; each in a line.
        UnavailableError: a task's data is neither here nor can it be downloaded.
    """
    require_mteb()
    import mteb

    tasks, unknown = [], []
    for name in names:
        try:
            tasks.append(mteb.get_task(name))
        except KeyError:
            known = [task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)]
            unknown.append(f"mteb {version('mteb')}: {unknown_name('task', name, known)}")
    if unknown:
        raise BadInputError(*unknown)
    for name, task in zip(names, tasks, strict=True):
        try:
            task.load_data()
        except Exception as error:
            raise UnavailableError(
                f"{name}: its data set {task.metadata.dataset['path']} is not here and cannot be "
                f"downloaded; run it once where the hub can be reached: {_line(error)}"
            ) from None


def evaluate(infer: Infer, tasks: Sequence[str], batch_size: int) -> Scores:
    """The scores of tasks, each by its own definition; nothing is taken from mteb's cache of results.

    A task that cannot be evaluated, whatever it is for, says nothing of who encodes: it has no score.

    Args:
        infer: encodes.
        tasks: names, as mteb has them.
        batch_size: texts in a request.

    Raises:
        RuntimeUnavailableError: the package is not installed.
        ProbeError: a request fails: that, and that alone, is what `infer` is to blame for.
    """
    require_mteb()
    import mteb

    found = Scores({}, [], version("mteb"))
    for name in tasks:
        found.scores[name] = None
        try:
            results = mteb.evaluate(
                _Encoder(infer),
                mteb.get_task(name),
                cache=None,
                encode_kwargs={"batch_size": batch_size},
                show_progress_bar=False,
            )
            score = float(results.task_results[0].get_score())
        except ProbeError as error:
            raise ProbeError(f"{name}: {error}") from None
        except Exception as error:
            found.problems.append(f"{name}: {_line(error)}")
        else:
            found.scores[name] = score if math.isfinite(score) else None
    return found


class _Encoder:
    """mteb's `EncoderProtocol`: each batch of its loader is one request."""

    mteb_model_meta = None  # a candidate is no model of its registry

    def __init__(self, infer: Infer) -> None:
        self._infer = infer

    def encode(
        self, inputs: Iterable[dict[str, list[str]]], *, prompt_type: Any = None, **_task: Any
    ) -> NDArray[np.float32]:
        """Vectors of all batches, float32 [n_texts, dim], with the model's own prompt for what they are."""
        prompt = "default" if prompt_type is None else str(prompt_type.value)
        return np.concatenate([self._infer(list(batch["text"]), prompt=prompt) for batch in inputs])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs, [n_1, n_2]."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines row by row, [n]."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
