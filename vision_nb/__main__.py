"""``python -m vision_nb tutorials``: the notebooks, copied and opened."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import vision_nb
from vision_nb.errors import VisionError
from vision_nb.tutorials import DEFAULT_FOLDER, check_jupyterlab, copy_notebooks, start_jupyterlab


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after ``python -m vision_nb``; None takes them from the command line.

    Returns:
        The exit status: 0, or 1 with the reason on stderr.
    """
    parser = argparse.ArgumentParser(
        prog="python -m vision_nb", description="Ask models about pictures, in a notebook."
    )
    parser.add_argument("--version", action="version", version=f"vision_nb {vision_nb.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tutorials = commands.add_parser(
        "tutorials",
        help="copy the tutorial notebooks into a folder and open JupyterLab on them",
        description="Copy the tutorial notebooks into a folder and open JupyterLab on them. A notebook that you "
        "have changed there is kept. Options not listed here go to jupyter lab.",
    )
    tutorials.add_argument("folder", nargs="?", default=DEFAULT_FOLDER, metavar="FOLDER", help="default: %(default)s")
    tutorials.add_argument("--no-browser", action="store_true", help="start JupyterLab without opening a browser")
    known, others = parser.parse_known_args(arguments)
    try:
        check_jupyterlab()
        copied = copy_notebooks(known.folder)
        sys.stdout.write(f"{copied}\n")
        sys.stdout.flush()
        return start_jupyterlab(copied.folder, browser=not known.no_browser, options=others)
    except VisionError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
