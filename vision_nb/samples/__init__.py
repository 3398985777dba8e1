"""Small pictures for trying things out, with no download.

Four are drawn by ``tests/draw_samples.py``; the fifth is part of matplotlib.

>>> vn.samples.names()
('chart', 'street_sign', 'label', 'night_scene', 'grace_hopper')
>>> vn.samples.path("chart").name
'chart.png'
"""

from __future__ import annotations

import pathlib

from vision_nb.errors import ImageNotFoundError

_FOLDER = pathlib.Path(__file__).parent
_FILES = ("chart.png", "street_sign.png", "label.png", "night_scene.jpg", "grace_hopper.jpg")


def names() -> tuple[str, ...]:
    """The names that :func:`path` knows."""
    return tuple(file.partition(".")[0] for file in _FILES)


def path(name: str) -> pathlib.Path:
    """The file of a sample picture.

    ``grace_hopper`` is the portrait of Grace Hopper that matplotlib brings along, a photograph of the US Navy in
    the public domain. The other pictures are drawn, and what they show is invented.

    Args:
        name: One of :func:`names`, with or without the file's extension.

    Returns:
        The path of an existing file.

    Raises:
        ImageNotFoundError: There is no sample of that name.
    """
    for file in _FILES:
        if name in (file, file.partition(".")[0]):
            return _matplotlib_sample(file) if file == "grace_hopper.jpg" else _FOLDER / file
    raise ImageNotFoundError(f"There is no sample picture {name!r}; there are {', '.join(names())}.")


def _matplotlib_sample(file: str) -> pathlib.Path:
    from matplotlib.cbook import get_sample_data

    return pathlib.Path(str(get_sample_data(file, asfileobj=False)))
