"""The scripts and styles of the widgets."""

from pathlib import Path


def read_assets(*names: str) -> str:
    """Return the concatenated text of files in this folder.

    anywidget loads each widget's script as a separate module, without a bundler. Shared functions are therefore in a
    separate file, which is prepended to each script. Widgets get the text rather than a path, because anywidget never
    releases widgets whose class has a path.
    """
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)
