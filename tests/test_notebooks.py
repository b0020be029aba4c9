"""The notebooks of the documentation: they hold no outputs, and run from the first cell to the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from helpers import HANG
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"

SAYS = {  # what each prints when all went well
    "first-run": "% on test, in",
    "own-pictures": "done: fixmatch on",
    "own-strategy": "%, with entropy",
    "python-api": "done: fixmatch on",
    "reading-a-comparison": "95 % interval from",
}
RUNS = {"first-run": 2, "own-pictures": 1, "own-strategy": 0, "python-api": 1, "reading-a-comparison": 6}  # it leaves


@pytest.fixture
def kernel() -> Iterator[KernelManager]:
    """A Jupyter kernel, which imports torch once for all notebooks."""
    manager = KernelManager(kernel_name="python3")
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_the_notebooks_run(kernel: KernelManager, tmp_path: Path) -> None:
    """Each without the names of another, in an empty folder; an error in a cell, or an assertion of it, is raised."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert {path.stem: path.stat().st_size < 1_000_000 for path in paths} == dict.fromkeys(SAYS, True)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in cells)
        folder = tmp_path / path.stem
        folder.mkdir()
        notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {folder}"))
        client = NotebookClient(notebook, km=kernel, timeout=int(HANG))
        done = client.execute()
        assert client.kc is not None
        client.kc.stop_channels()
        printed = [output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])]
        assert any(SAYS[path.stem] in text for text in printed), path.stem
        assert len([*folder.glob("runs/*/*/*/checkpoints/best.ckpt")]) == RUNS[path.stem]
