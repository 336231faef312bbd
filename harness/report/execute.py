"""Run a notebook with parameters; what its cells show comes back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A cell that takes longer hangs.
_CELL_TIMEOUT_S = 120
# The tag of the cell that parameters replace, as papermill calls it.
_PARAMETERS = "parameters"


class Shown(NamedTuple):
    """Something that a notebook shows: its kind (``markdown``, ``html``, ``svg`` or ``text``) and content."""

    kind: str
    content: str


_KINDS = (("text/html", "html"), ("image/svg+xml", "svg"), ("text/plain", "text"))


def execute(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    on_cell: Callable[[int, int], None] = lambda _i, _n: None,
) -> list[Shown]:
    """Execute a notebook from top to bottom in a kernel of its own, in the folder that is the current one.

    Args:
        notebook: the file; it stays as it is.
        parameters: values of the names that its cell tagged ``parameters`` sets.
        on_cell: told before each cell: its number from 0, and how many there are.

    Returns:
        Its Markdown cells and what the other cells displayed, in order; code is left out.

    Raises:
        UnavailableError: what executes notebooks is not installed.
        nbclient.exceptions.CellExecutionError: a cell failed: a defect of ours.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from traitlets.config import Config
    except ImportError as error:
        raise UnavailableError(
            f"a report needs {error.name}, which is not installed; install embedding-harness[report]"
        ) from None
    document = nbformat.read(notebook, as_version=4)
    for position, cell in enumerate(document.cells):
        if _PARAMETERS in cell.metadata.get("tags", []):
            lines = [f"{name} = {value!r}" for name, value in parameters.items()]
            document.cells.insert(position + 1, nbformat.v4.new_code_cell("\n".join(lines)))
            break
    # Sockets in a folder of our own: nobody else can reach them, and no port has to be free.
    with TemporaryDirectory(prefix="harness-report-") as folder:
        NotebookClient(
            document,
            config=Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}),
            kernel_name="python3",
            timeout=_CELL_TIMEOUT_S,
            resources={"metadata": {"path": str(Path.cwd())}},
            on_cell_start=lambda cell_index, **_: on_cell(cell_index, len(document.cells)),
        ).execute()
    return [shown for cell in document.cells for shown in _shown(cell)]


def _shown(cell: Any) -> list[Shown]:
    if cell.cell_type == "markdown":
        return [Shown("markdown", cell.source)]
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kind = next((known for known in _KINDS if known[0] in data), None)
        if kind is not None:
            found.append(Shown(kind[1], "".join(data[kind[0]])))
    return found
