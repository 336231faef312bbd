"""The texts on which a build must agree with sentence-transformers, chosen to break a wrong one."""

from __future__ import annotations

from harness.units import bound_text, decimal_text

# Every text alone, and all of them in one batch, must reach this cosine to the reference, by precision. The
# others are built to differ: by how much is measured with every run, and judged there.
PARITY_COSINE_MIN = {"fp32": 0.99999, "fp32-fused": 0.9999}

# Above this the over-long text is of some `_LONG` tokens: at 32,000 one forward pass takes minutes.
_LONGEST_CHECKED = 1_024
_LONG = 300

_TEXTS = (
    "",
    " ",
    "word",
    "ML",
    "The quick brown fox jumps over the lazy dog.",
    "Machine learning is a branch of artificial intelligence.",
    "Naïve café owners in São Paulo paid 12.50 € (≈ $13.37).",
    "深い学習は人工知能の一分野です。",
    "مرحبا بالعالم",
    "🚀🔥 ship it!! 👩‍👩‍👧‍👦",
    "def encode(texts: list[str]) -> np.ndarray: return session.run(None, feeds)[0]",
    "\tTabs,\nnewlines\r\nand \u200bzero-width\u00a0spaces",
    "supercalifragilisticexpialidocious " * 3,
    "A sentence of ordinary length that says nothing much in particular, and takes its time to do so.",
    "one two three four five six seven eight nine ten " * 8,
)


def parity_failure(cosine: float, bound: float) -> str:
    """Why a precision is refused whose worst cosine to the fp32 reference is under its bound."""
    worst = decimal_text(cosine, 6, beside=(bound,))
    return f"parity with the fp32 reference failed: worst cosine {worst}, needed {bound_text(bound)}"


def verification_texts(max_length: int) -> list[str]:
    """Empty, short, Unicode and long texts; one far beyond `max_length` tokens where that is feasible.

    Of a model that reads more, one of some 300 tokens: what goes wrong at later places than that is not seen.
    """
    repeats = max_length // 3 if max_length <= _LONGEST_CHECKED else _LONG // 12  # 12 tokens or so each
    return [*_TEXTS, "A long story that goes on and on without an end. " * repeats]
