"""The protocol every runtime follows: load once, then tokens in, vectors out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Tokens(NamedTuple):
    """A padded batch: both int64 [n_texts, length]; the mask is 1 on tokens and 0 on padding."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]


class Placement(NamedTuple):
    """Where the nodes of a graph went when it was partitioned."""

    nodes_total: int
    ep_nodes: int
    ep_partitions: int


@dataclass(frozen=True)
class SessionOptions:
    """How a session is loaded.

    `threads` None leaves the runtime's default. `script` and `launch_index` (None where nothing is
    timed) are for the fake runtime.
    """

    ep_provider: str = "CPUExecutionProvider"
    ep_options: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    record_placement: bool = False
    script: dict[str, Any] | None = None
    launch_index: int | None = None


class Session(Protocol):
    """A loaded artifact."""

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of a batch, pooled and normalised as declared: float32 [n_texts, dim]."""
        ...

    def placement(self) -> Placement | None:
        """Where the nodes went; None where it was not recorded or the runtime cannot tell."""
        ...

    def clock_ns(self) -> int:
        """The monotonic clock that this session's requests are timed with, in ns."""
        ...

    def wait_until_ns(self, due_ns: int) -> None:
        """Sleep until that clock shows `due_ns`; return at once where it does already."""
        ...
