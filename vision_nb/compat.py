"""The walkthroughs' names that are not our own idiom, so that their code runs with other import lines.

>>> vn.compat.SimpleDirectoryReader("photos").load_data()
[ImageDocument('photos/1.jpg'), ImageDocument('photos/2.jpg')]
"""

from __future__ import annotations

from pathlib import Path

from vision_nb.images.loading import ImageList, load_images


class SimpleDirectoryReader:
    """The pictures of a folder; `load_images` is the shorter way.

    Args:
        input_dir: The folder.
        recursive: Also look into its folders.
    """

    def __init__(self, input_dir: str | Path, *, recursive: bool = False) -> None:
        self.input_dir = Path(input_dir)
        self.recursive = recursive

    def load_data(self) -> ImageList:
        """A document for each picture, in natural order; other files are skipped with a warning."""
        return load_images(self.input_dir, recursive=self.recursive)
