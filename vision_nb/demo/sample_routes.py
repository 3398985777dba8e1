"""The demo server's route for the sample images."""

from __future__ import annotations

from tornado.web import HTTPError, RequestHandler

from vision_nb import samples
from vision_nb.errors import ImageNotFoundError
from vision_nb.images.formats import sniff

PATH = "/samples/"


class SampleFile(RequestHandler):
    """Serve a sample image by its file name."""

    def get(self, name: str) -> None:
        """Send the file, or status 404 if the sample does not exist."""
        try:
            data = samples.path(name).read_bytes()
        except ImageNotFoundError as error:
            raise HTTPError(404) from error
        self.set_header("Content-Type", sniff(data) or "application/octet-stream")
        self.finish(data)


def routes() -> list[tuple[str, type[RequestHandler]]]:
    """Return the route for a tornado application."""
    return [(rf"{PATH}([\w.]+)", SampleFile)]
