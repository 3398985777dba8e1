"""Run the notebooks and save them with their outputs, as they are shown to readers who do not run them.

Run: python tests/save_notebooks.py [notebooks/NAME.ipynb ...]
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEYS = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_", "DEPLOYMENT")
NO_WEB = {  # a proxy that is not there: what is saved does not depend on what the web holds today
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
FONTS = {"MPLCONFIGDIR": str(Path(gettempdir()) / "vision_nb-fonts")}  # listing them takes seconds: once is enough


def execute(path, *, keys=None, **options):
    """Run a notebook in a fresh kernel that knows no key but those given, no web and no earlier answer.

    Gives it with its outputs.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(KEYS)}
    options = {"timeout": 300, "coalesce_streams": True, **options}
    with TemporaryDirectory() as empty_store:
        environment |= {**NO_WEB, **FONTS, "XDG_CACHE_HOME": empty_store, **(keys or {})}
        client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, **options)
        return client.execute(env=environment)


def without_the_accidental(notebook):
    """Drop what differs from run to run or from machine to machine and means nothing to a reader."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


if __name__ == "__main__":
    for path in [Path(argument) for argument in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(without_the_accidental(execute(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
