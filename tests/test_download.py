"""Pictures behind URLs: no further than needed, and every way in which a server can misbehave."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import encoded, picture

from vision_nb import ImageDocument, display_image_uris, errors
from vision_nb.images import download

JPEG = encoded(picture(2000, 1500), "JPEG", quality=95)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, "serve_" + self.path.strip("/").split("?")[0].split(".")[0], self.serve_missing)()

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve_photo(self):
        self.answer(200, JPEG, Content_Type="text/plain")

    def serve_ranged(self):
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self.answer(206, JPEG[int(first) : int(last) + 1], Content_Type="image/jpeg")

    def serve_late(self):
        self.answer(200, encoded(picture(300, 200), "JPEG", icc_profile=bytes(90_000)))

    def serve_html(self):
        self.answer(200, b"<!doctype html><html>Sign in</html>", Content_Type="image/jpeg")

    def serve_missing(self):
        self.answer(404, b"no")

    def serve_loop(self):
        self.answer(302, b"", Location="/loop")

    def serve_endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(JPEG[:3] + bytes(1_000_000))
        except OSError:
            self.close_connection = True

    def serve_slow(self):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"\xff")
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True

    def serve_silent(self):
        time.sleep(2)
        self.close_connection = True

    def serve_cut(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(JPEG)))
        self.end_headers()
        self.wfile.write(JPEG[:5000])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.base = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def at(site, name):
    return ImageDocument(image_url=f"{site.base}/{name}?sig=secret")


@pytest.mark.parametrize("name", ["photo", "ranged"])
def test_the_size_needs_no_more_than_the_header(site, name):
    document = at(site, name)
    assert (document.size, document.mimetype) == ((2000, 1500), "image/jpeg")
    assert site.asked == [(f"/{name}?sig=secret", "bytes=0-65535")]


def test_a_header_that_lies_further_in_is_found(site):
    assert at(site, "late").size == (300, 200)
    assert [asked[1] for asked in site.asked] == ["bytes=0-65535", None]


def test_a_picture_is_downloaded_once(site):
    document = at(site, "photo")
    assert document.to_pil().size == document.size == (2000, 1500)
    assert document.thumbnail() and len(site.asked) == 1


@pytest.mark.parametrize(
    "name, kind, words",
    [
        ("missing", errors.ImageDownloadError, "404"),
        ("loop", errors.ImageDownloadError, "redirects without end"),
        ("html", errors.UnsupportedImageError, "HTML page"),
        ("endless", errors.ImageDownloadError, "more than"),
        ("slow", errors.ImageDownloadError, "more than 0 seconds"),
        ("silent", errors.ImageDownloadError, "in time"),
        ("cut", errors.ImageDownloadError, "cannot be reached"),
    ],
)
def test_each_misbehaviour_is_an_error_that_names_the_address_without_its_query(site, monkeypatch, name, kind, words):
    import httpx2

    monkeypatch.setattr(download, "MAX_DOWNLOAD", 5_000_000)
    if name == "slow":
        monkeypatch.setattr(download, "_TOTAL_SECONDS", 0.3)
    if name == "silent":
        monkeypatch.setattr(download, "_client", lambda: httpx2.Client(timeout=0.3))
    with pytest.raises(kind, match=words) as caught:
        at(site, name).prepare()
    assert f"{site.base}/{name}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:9/x.png", "https://exa mple.org/"])
def test_an_address_that_leads_nowhere(url):
    with pytest.raises(errors.ImageError):
        ImageDocument(image_url=url).prepare()


def test_the_grid_shows_urls_and_labels_what_could_not_be_loaded(site, tmp_path):
    figure = display_image_uris([f"{site.base}/photo", f"{site.base}/missing", str(tmp_path / "none.png")])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "photo   2000 x 1500"
    assert len(figure.axes[0].images) == 1
    assert "404" in figure.axes[1].texts[0].get_text()
    assert "There is no file" in figure.axes[2].texts[0].get_text()
