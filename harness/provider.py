"""The production embedding provider: what is measured is what users import.

>>> provider = EmbeddingProvider.load("minilm")          # doctest: +SKIP
>>> provider.encode(["some text", "another"]).shape      # doctest: +SKIP
(2, 384)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.artifacts.graphs import said_by
from harness.artifacts.manifest import Artifact, problems_of, read_artifact
from harness.artifacts.verification import PARITY_COSINE_MIN, parity_failure, verification_texts
from harness.errors import ArtifactError, BadInputError, UnavailableError
from harness.paths import typed_path
from harness.runtimes import load_session
from harness.runtimes.base import SessionOptions, Tokens
from harness.stats import cosines
from harness.texts import quality_texts
from harness.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from harness.artifacts.cache import Recipe
    from harness.artifacts.process import Tell
    from harness.runtimes.base import Session

# Texts in one forward pass of `encode`; large enough that a bigger one is no faster on a CPU.
BATCH_SIZE = 32


class EmbeddingProvider:
    """Texts in, vectors out: L2-normalised where the model's are."""

    def __init__(self, artifact: Artifact, session: Session, options: SessionOptions | None = None) -> None:
        """Use `load` or `open`."""
        options = options or SessionOptions()
        shapes = options.static_shapes
        self.artifact = artifact
        self.session = session
        self._tokenizer = Tokenizer(artifact, shapes.get("sequence_length"))
        self._static_texts = shapes.get("batch_size")
        self._ep = options.ep_provider

    def __repr__(self) -> str:
        """What it serves: model, precision, execution provider (ONNX Runtime's name), dimensions."""
        told = self.artifact.manifest
        return (
            f"EmbeddingProvider(model={told.model!r}, precision={told.precision!r}, ep={self._ep!r}, "
            f"dim={told.dim})"
        )

    @classmethod
    def load(
        cls,
        path_or_model: str | Path,
        *,
        ep: str = "cpu",
        precision: str = "fp32",
        normalize: bool | None = None,
    ) -> EmbeddingProvider:
        """A provider from an artifact's folder, or from a model, which is built on first use.

        Args:
            path_or_model: an artifact's folder (it has a ``manifest.json``), the folder of one's own model
                (as ``model.path=``, with nothing else typed), or a name such as ``minilm``.
            ep: the execution provider's short name.
            precision: of the artifact to build; an artifact's folder has its own. One that differs from fp32
                by more than rounding is held against it at each load, over the quality texts; an artifact's
                folder is served as it is.
            normalize: as ``model.normalize=``, for the folder of one's own model whose files have no
                Normalize module: whether its vectors are made of length 1. All others say it themselves.

        Raises:
            BadInputError: unknown model, EP or precision, a folder that holds neither artifact nor model, or
                `normalize` is missing, or contradicts what is said.
            ArtifactError: a damaged artifact, or one whose vectors are under its precision's
                ``parity_cosine_min``.
            UnavailableError: not possible here.
        """
        from harness.compose import options_of
        from harness.config import load_ep, load_model, load_precision, own_model

        provider, chosen = load_ep(ep), load_precision(precision)  # refused before anything else
        folder = typed_path(path_or_model)
        built = not (folder / "manifest.json").is_file()
        own = built and folder.is_dir()
        of = precision if built else read_artifact(folder).manifest.precision
        name = of.partition("+")[0]  # with settings of one's own it is no other thing to a provider
        if name in options_of("precision") and (reason := load_precision(name).unfit.get(ep)):
            raise UnavailableError(f"precision={of} ep={ep}: {reason}")
        from harness.runtimes.onnxruntime import require_provider

        require_provider(provider.provider, ep, provider.wheel)
        if normalize is not None and not own:
            raise BadInputError(f"normalize={normalize}: {path_or_model} says it itself; leave it out")
        if not built:
            artifact = read_artifact(folder)
            if problems := problems_of(artifact):
                raise ArtifactError(f"{folder} is damaged: {'; '.join(problems)}; copy or build it again")
        elif len(folder.parts) > 1 and not folder.is_dir():
            raise BadInputError(f"{path_or_model}: no such directory; give that of an artifact or of a model")
        else:
            from harness.artifacts.cache import Recipe

            name = str(path_or_model)
            model = own_model(path_or_model, normalize=normalize) if own else load_model(name)
            artifact = prepare_artifact(Recipe(model, chosen, "onnxruntime"), tell=lambda _what, _left: None)
        options = {k: str(v) for k, v in provider.options.items() if v is not None}
        served = cls.open(artifact, "onnxruntime", SessionOptions(provider.provider, options))
        if built and precision not in PARITY_COSINE_MIN:  # those are held to it when they are built
            served._require_parity(chosen.parity_cosine_min)
        return served

    @classmethod
    def open(cls, artifact: Artifact, runtime: str, options: SessionOptions) -> EmbeddingProvider:
        """A provider on an artifact whose files were verified before.

        Raises:
            UnavailableError: the runtime or the execution provider is not available.
        """
        return cls(artifact, load_session(runtime, artifact, options), options)

    def _require_parity(self, bound: float) -> None:
        """Hold the vectors against the fp32 reference of the quality texts, as a run of the model does.

        Raises:
            ArtifactError: the worst cosine is under `bound`, or no number.
        """
        reference = self.artifact.reference()
        if reference is None:
            return
        worst = float(cosines(self.encode(quality_texts()), reference).min())
        if not worst >= bound:
            told = self.artifact.manifest
            raise ArtifactError(
                f"{told.model} {told.precision}: {parity_failure(worst, bound)}; give another precision, or "
                f"load the artifact {self.artifact.path}, which is served as it is"
            )

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.artifact.manifest.dim

    def encode(
        self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE, prompt: str = "default"
    ) -> NDArray[np.float32]:
        """Vectors of texts, in their order.

        Texts are grouped by length, so that little is padded, and truncated to the model's maximum.

        Args:
            texts: any number of texts, empty ones included.
            batch_size: texts in one forward pass.
            prompt: ``default``, ``query`` or ``document``: the model's own prefix for it. Where it names none
                for documents, that for passages, else for a corpus: sentence-transformers' own
                ``encode_document`` (5.7) puts nothing before them then.

        Returns:
            float32 [n_texts, dim], L2-normalised where the model's are; [0, dim] for no text.

        Raises:
            TypeError: `texts` is one string, or holds something that is no string.
            ValueError: unknown prompt, or batch_size under 1.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a sequence of texts, not one: put it in a list")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        self._tokenizer.prefix(prompt)  # refused also where there is no text
        texts = list(texts)
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"texts[{place}] is {type(text).__name__}, no string: leave it out, or give ''"
                )
        batch_size = min(batch_size, self._static_texts or batch_size)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in batches_by_length(texts, batch_size):
            vectors[rows] = self.infer(self.tokenize([texts[i] for i in rows], prompt=prompt))
        return vectors

    def tokenize(self, texts: Sequence[str], *, prompt: str = "default") -> Tokens:
        """One padded batch: the first stage of `encode`.

        Raises:
            TypeError: a text is no string.
            ValueError: unknown prompt.
        """
        tokens = self._tokenizer.tokenize(texts, prompt=prompt)
        self.session.tokenized()
        return tokens

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of one padded batch, float32 [n_texts, dim]: the second stage of `encode`.

        A graph of a fixed batch size is fed that many rows, the last one repeated.

        Raises:
            ValueError: more texts than the graph's fixed batch size.
        """
        texts = len(tokens.input_ids)
        if self._static_texts is None or texts in (0, self._static_texts):
            return self.session.infer(tokens)
        if texts > self._static_texts:
            raise ValueError(f"{texts} texts: the graph is fixed to {self._static_texts}; send fewer at once")
        rows = np.minimum(np.arange(self._static_texts), texts - 1)
        return self.session.infer(Tokens(tokens.input_ids[rows], tokens.attention_mask[rows]))[:texts]


def batches_by_length(texts: Sequence[str], batch_size: int) -> list[list[int]]:
    """The places of texts in batches of about one length, the shortest first, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def prepare_artifact(recipe: Recipe, *, tell: Tell, root: Path | None = None) -> Artifact:
    """The artifact of a recipe, built if needed and verified against its reference when built.

    Raises:
        HarnessError: as `harness.artifacts.cache.prepare`.
    """
    from harness.artifacts.cache import prepare

    return prepare(recipe, check=lambda built: verify(built, recipe.runtime), tell=tell, root=root)


def verify(artifact: Artifact, runtime: str) -> None:
    """Hold a build against its reference over the verification texts, on the CPU.

    Every text alone, and all texts in one batch padded to the longest.

    Raises:
        ArtifactError: under `PARITY_COSINE_MIN`, where its precision has one, or not a number, or a text's
            vector alone is that far from its own in the batch; or ONNX Runtime does not run the graph.
    """
    texts = verification_texts(artifact.manifest.max_length)
    try:
        provider = EmbeddingProvider.open(artifact, runtime, SessionOptions())
        together = provider.infer(provider.tokenize(texts))
        if (width := together.shape[1]) != provider.dim:
            raise ArtifactError(
                f"{artifact.manifest.model}'s vectors have {width} dimensions, and model.dim="
                f"{provider.dim} is what its files say; choose another model"
            )
        alone = provider.encode(texts, batch_size=1)
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime."):
            raise
        built = f"the {artifact.manifest.precision} graph built for {artifact.manifest.model}"
        raise ArtifactError(
            f"{built} does not run in ONNX Runtime ({said_by(error)}); give another precision, or another "
            "export of the model"
        ) from None
    reference = artifact.verification()
    found = np.minimum(cosines(alone, reference), cosines(together, reference))
    worst = int(np.argmin(np.nan_to_num(found, nan=-2.0)))
    needed = PARITY_COSINE_MIN.get(artifact.manifest.precision, -1.0)
    if not reference[worst].any():
        raise ArtifactError(
            f"{artifact.manifest.model}'s own vector of {texts[worst][:40]!r} is zero, which has no cosine "
            "to any other; choose another model"
        )
    company = cosines(alone, together)
    lone = int(np.argmin(np.nan_to_num(company, nan=2.0)))
    if company[lone] < needed:
        raise ArtifactError(
            f"the vectors of {artifact.manifest.model} depend on what a text is batched with: cosine "
            f"{company[lone]:.6f} between {texts[lone][:40]!r} alone and beside longer texts, needed "
            f"{needed}; choose another model, one that leaves padding out"
        )
    if not found[worst] >= needed:
        raise ArtifactError(
            f"the artifact built for {artifact.manifest.model} disagrees with its reference: cosine "
            f"{found[worst]:.6f} on {texts[worst][:40]!r}, needed {needed}; check model.pooling "
            f"({artifact.manifest.pooling}), model.normalize, model.max_length and the prompts"
        )
