"""The images for the viewer in image_viewer.js."""

from vision_nb.images.image_list import ListedImage

_SIDE = 2_400  # pixels
_BYTES = 2_000_000


def enlarged_image(document: ListedImage) -> str:
    """Return an image with the pixels to zoom in, as a data URI.

    Args:
        document: The image.

    Raises:
        ImageError: The image cannot be read.
    """
    return document.thumbnail(_SIDE, max_bytes=_BYTES)
