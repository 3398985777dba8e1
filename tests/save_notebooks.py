"""Run the notebooks and save them with their outputs, for readers who do not run them.

Run: python -m tests.save_notebooks [notebooks/NAME.ipynb ...]
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEYS = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_", "DEPLOYMENT")
NO_WEB = {  # a proxy that does not exist, so that saved outputs do not depend on the web
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
NO_SERVERS = {"VISION_NB_LOCAL_PORTS": ""}  # nor on the machine's own model servers
FONTS = {"MPLCONFIGDIR": str(Path(gettempdir()) / "vision_nb-fonts")}  # building the font list takes seconds


def run(client, **options):
    """Run a notebook, a second time if another process took a port of its kernel before the kernel started."""
    try:
        return client.execute(**options)
    except RuntimeError as error:
        if "Kernel died before replying" not in str(error):
            raise
        return client.execute(**options)


def execute(path, *, keys=None, **options):
    """Run a notebook and return it with its outputs.

    The kernel has no API keys except those in `keys`, no network, and an empty store.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(KEYS)}
    options = {"timeout": 300, "coalesce_streams": True, **options}
    with TemporaryDirectory() as store:
        environment |= {**NO_WEB, **NO_SERVERS, **FONTS, "XDG_CACHE_HOME": store, **(keys or {})}
        client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, **options)
        return run(client, env=environment)


def without_run_metadata(notebook):
    """Remove metadata that differs between runs and machines."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


if __name__ == "__main__":
    for path in [Path(argument) for argument in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(without_run_metadata(execute(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
