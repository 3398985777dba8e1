"""Run the notebooks and save them with their outputs, as they are shown to readers who do not run them.

Run: python tests/save_notebooks.py [notebooks/NAME.ipynb ...]
"""

import os
import sys
from pathlib import Path
from tempfile import mkdtemp

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEYS = ("OPENAI_", "AZURE_", "REPLICATE_")


def execute(path, **options):
    """Run a notebook in a fresh kernel that knows no key, and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    for name in [name for name in os.environ if name.startswith(KEYS)]:
        del os.environ[name]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}, **options)
    return client.execute()


def without_the_accidental(notebook):
    """Drop what differs from run to run or from machine to machine and means nothing to a reader."""
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


if __name__ == "__main__":
    os.environ["XDG_CACHE_HOME"] = mkdtemp()  # an empty store: what is saved is what a first reader sees
    for path in [Path(argument) for argument in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(without_the_accidental(execute(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
