"""``python -m vision_nb``: copy the tutorials and open JupyterLab, or download a small model."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

import vision_nb
from vision_nb.cost.small_models import SMALL_MODELS, small_model
from vision_nb.errors import VisionError
from vision_nb.providers.catalog import DEMO
from vision_nb.providers.default_model import default_model
from vision_nb.providers.llamacpp.consent import approve_download, get_model
from vision_nb.providers.llamacpp.download import download_model
from vision_nb.providers.llamacpp.process import find_program
from vision_nb.tutorials import DEFAULT_FOLDER, check_jupyterlab, copy_notebooks, is_root, start_jupyterlab


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error is printed to stderr.

    Args:
        arguments: The words after ``python -m vision_nb``; None reads them from the command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m vision_nb", description="Ask vision models about images, in a notebook."
    )
    parser.add_argument("--version", action="version", version=f"vision_nb {vision_nb.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tutorials = commands.add_parser(
        "tutorials",
        help="copy the tutorial notebooks to a folder and open JupyterLab there",
        description="Copy the tutorial notebooks to a folder and open JupyterLab there. Notebooks that you have "
        "changed are not overwritten. If no local model is found, you are asked whether to download one. The first "
        "option that is not listed here, and all that follows it, is passed to jupyter lab.",
    )
    tutorials.add_argument("folder", nargs="?", default=DEFAULT_FOLDER, metavar="FOLDER", help="default: %(default)s")
    tutorials.add_argument("--no-browser", action="store_true", help="start JupyterLab without opening a browser")
    models = commands.add_parser(
        "download",
        help="download a small model that runs on this machine",
        description=f"Download a small model into the cache of the Hugging Face Hub: {', '.join(SMALL_MODELS)}. "
        "An interrupted download continues where it stopped.",
    )
    models.add_argument("model", metavar="MODEL")
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    ours, others = _split(command_line)
    options = parser.parse_args(ours)
    try:
        if options.command == "tutorials":
            return _open_tutorials(options, others, command_line)
        _download(options.model)
        return 0
    except VisionError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _split(command_line: list[str]) -> tuple[list[str], list[str]]:
    """Return our arguments and those of jupyter lab, whose options may have values: ``--port 8888`` names no folder."""
    if command_line[:1] == ["tutorials"]:
        for place, word in enumerate(command_line):
            if word.startswith("-") and word not in ("-h", "--help", "--no-browser"):
                return command_line[:place], command_line[place:]
    return command_line, []


def _open_tutorials(options: argparse.Namespace, jupyterlab_options: list[str], command_line: list[str]) -> int:
    check_jupyterlab()
    kept = copy_notebooks(options.folder)
    print(f"The notebooks are in {options.folder}.")  # noqa: T201 - the output of a command
    if kept:
        print(f"Not overwritten: {', '.join(kept)}. To get a new copy, rename or delete yours.")  # noqa: T201
    _offer_model()
    sys.stdout.flush()
    status = start_jupyterlab(options.folder, browser=not options.no_browser, options=jupyterlab_options)
    if status and is_root() and not any("allow" in option and "root" in option for option in jupyterlab_options):
        sys.stderr.write(
            "JupyterLab does not start for the user root by default. To allow it, add --allow-root: "
            f"{shlex.join(['python', '-m', 'vision_nb', *command_line])} --allow-root\n"
        )
    return status


def _offer_model() -> None:
    """Ask a person at a terminal whether to download the smallest model, if only the demo could answer otherwise."""
    if sys.stdin is None or not sys.stdin.isatty() or default_model().name != DEMO:
        return
    try:
        find_program()
        get_model(next(iter(SMALL_MODELS.values())), download=None, progress=True)
    except VisionError as error:
        print(f"{error}\nThe demo answers in the notebooks until then.")  # noqa: T201


def _download(name: str) -> None:
    """Download a small model, and print where its files are."""
    model = small_model(name)
    approve_download(model, download=True)
    for path in download_model(model):
        print(path)  # noqa: T201 - the output of a command


if __name__ == "__main__":
    sys.exit(main())
