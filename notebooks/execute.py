# SPDX-License-Identifier: Apache-2.0
"""The host's notebooks from text, executed over the simulated board."""

import base64
import os
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

__all__ = ["SOURCES", "convert", "drawings", "execute", "pictures"]

SOURCES = tuple(sorted(Path(__file__).parent.glob("[0-9]*.py")))
_SECONDS = 1800  # of a cell: the first one may build a simulation
_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}  # products are small: threads would wait for each other and for the simulator


def convert(source: Path) -> NotebookNode:
    """The notebook of a text in percent format, without outputs: the same bytes for the same text."""
    notebook = jupytext.read(source, fmt="py:percent")
    for index, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{index:02}", NotebookNode()
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in ``folder``, in place, with this Python. Raises nbclient's CellExecutionError."""
    metadata = notebook.metadata.copy()
    NotebookClient(notebook, timeout=_SECONDS, kernel_name="python3", record_timing=False,
                   extra_arguments=["--log-level=ERROR"],  # it warns of its unencrypted, local connection
                   resources={"metadata": {"path": str(folder)}}).execute(env=os.environ | _ENVIRONMENT)
    notebook.metadata = metadata  # the kernel adds its version


def drawings(notebook: NotebookNode) -> list[str]:
    """The SVG drawings among a notebook's outputs."""
    return ["".join(output.data["image/svg+xml"]) for cell in notebook.cells for output in cell.get("outputs", [])
            if "image/svg+xml" in output.get("data", {})]


def pictures(notebook: NotebookNode) -> list[bytes]:
    """The PNG files among a notebook's outputs."""
    return [base64.b64decode(output.data["image/png"]) for cell in notebook.cells for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})]
