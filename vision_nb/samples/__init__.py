"""Small sample images, available without a download.

Four of them and the receipts are drawn by ``tests/draw_samples.py``; the fifth comes with matplotlib.

>>> vn.samples.names()
('chart', 'street_sign', 'label', 'night_scene', 'grace_hopper')
>>> vn.samples.path("chart").name
'chart.png'
>>> vn.samples.receipts().name
'receipts'
"""

from __future__ import annotations

import pathlib

from vision_nb.errors import ImageNotFoundError

__all__ = ["names", "path", "receipts", "receipts_truth"]

_FOLDER = pathlib.Path(__file__).parent
_FILES = ("chart.png", "street_sign.png", "label.png", "night_scene.jpg", "grace_hopper.jpg")


def __dir__() -> list[str]:
    return list(__all__)


def names() -> tuple[str, ...]:
    """Return the names of the sample images."""
    return tuple(pathlib.Path(file).stem for file in _FILES)


def path(name: str) -> pathlib.Path:
    """Return the path of a sample image.

    ``grace_hopper`` is the portrait of Grace Hopper that comes with matplotlib: a photograph by the US Navy, in the
    public domain. The other images are drawings with invented content.

    Args:
        name: One of :func:`names`, with or without the file extension.

    Returns:
        The path of an existing file.

    Raises:
        ImageNotFoundError: The sample does not exist.
    """
    for file in _FILES:
        if name in (file, pathlib.Path(file).stem):
            return _matplotlib_sample(file) if file == "grace_hopper.jpg" else _FOLDER / file
    raise ImageNotFoundError(f"Unknown sample image {name[:80]!r}. The samples are {', '.join(names())}.")


def receipts() -> pathlib.Path:
    """Return the folder of the sample receipts, which are drawings with invented content.

    It contains twelve receipts in EUR and USD, ``receipt_01.png`` to ``receipt_12.png``, as scans and photographs,
    including a rotated, a small, a noisy, a crumpled and a dim one; ``receipt_13.jpg``, which is a menu; and
    ``receipt_14.jpg``, which is damaged.
    """
    return _FOLDER / "receipts"


def receipts_truth() -> pathlib.Path:
    """Return the CSV file of the values that are printed on the sample receipts.

    Its columns are image, shop, date, currency (EUR or USD), total, tax, payment (card, cash, mobile or voucher) and
    items, which is JSON: objects with a name and a price. The menu has a row without values; the damaged file has no
    row.
    """
    return _FOLDER / "receipts_truth.csv"


def _matplotlib_sample(file: str) -> pathlib.Path:
    from matplotlib.cbook import get_sample_data

    return pathlib.Path(str(get_sample_data(file, asfileobj=False)))
