"""Names used in common walkthroughs: their code runs after changing only the imports.

>>> vn.compat.SimpleDirectoryReader("photos").load_data()
[ImageDocument('photos/1.jpg'), ImageDocument('photos/2.jpg')]
"""

from __future__ import annotations

from pathlib import Path

from vision_nb.images.document import ImageList
from vision_nb.images.loading import load_images

__all__ = ["SimpleDirectoryReader"]


def __dir__() -> list[str]:
    return list(__all__)


class SimpleDirectoryReader:
    """A reader of the images in a folder; `load_images` does the same in one call.

    Args:
        input_dir: The folder.
        recursive: Whether to search subfolders too.
    """

    def __init__(self, input_dir: str | Path, *, recursive: bool = False) -> None:
        self.input_dir = Path(input_dir)
        self.recursive = recursive

    def load_data(self) -> ImageList:
        """Return a document for each image, in natural order.

        Other files are skipped with a warning.
        """
        return load_images(self.input_dir, recursive=self.recursive)
