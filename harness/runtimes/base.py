"""The protocol every runtime follows: load once, then tokens in, vectors out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.runtimes.profile import Profile


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

    None leaves the runtime's default, of `threads` and of the session options from `inter_op_threads` on.
    `static_shapes` fixes dynamic axes of the graph, by their names. `profile_prefix` is where the runtime's
    profile goes until `Session.end_profiling`; None profiles nothing, which is right wherever anything is
    timed. `script` and `launch_index` (None where nothing is timed) are for the fake runtime.
    """

    ep_provider: str = "CPUExecutionProvider"
    ep_options: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    inter_op_threads: int | None = None
    execution_mode: str | None = None
    spinning: bool | None = None
    graph_level: str | None = None
    arena: bool | None = None
    mem_pattern: bool | None = None
    static_shapes: dict[str, int] = field(default_factory=dict)
    record_placement: bool = False
    profile_prefix: str | None = None
    script: dict[str, Any] | None = None
    launch_index: int | None = None


class Session(Protocol):
    """A loaded artifact."""

    def tokenized(self) -> None:
        """Told of each batch that was tokenised; moves a scripted clock, and nothing else."""
        ...

    def infer(self, tokens: Tokens) -> NDArray[np.float32]:
        """Vectors of a batch, pooled and normalised as declared: float32 [n_texts, dim]."""
        ...

    def placement(self) -> Placement | None:
        """Where the nodes went; None where it was not recorded or the runtime cannot tell."""
        ...

    def effective_options(self) -> dict[str, Any] | None:
        """What the loaded session says it uses; None in it or as a whole where it cannot tell."""
        ...

    def end_profiling(self, *, skip_runs: int) -> Profile | None:
        """Stop profiling, if it was on; the profile without the first `skip_runs` requests.

        None where nothing was profiled or the runtime cannot tell.
        """
        ...

    def clock_ns(self) -> int:
        """The monotonic clock that this session's requests are timed with, in ns."""
        ...

    def wait_until_ns(self, due_ns: int) -> None:
        """Sleep until that clock shows `due_ns`; return at once where it does already."""
        ...
