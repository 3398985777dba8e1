"""The scripts and styles of the widgets."""

from pathlib import Path


def read_assets(*names: str) -> str:
    """Return the text of files in this folder, one after the other.

    anywidget loads each widget's script as a separate module, without a bundler. Functions that several scripts use
    are therefore in a file of their own, which is put in front of each script. Widgets get the text rather than a
    path, because anywidget never releases widgets whose class has a path.
    """
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)
