"""Downloads of images: no more bytes and requests than necessary, and an error for each way a server can fail."""

import pickle
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.drawn_files import pixel, plain, tiff_of
from vision_nb import ImageDocument, display_image_uris, errors, load_images
from vision_nb.images import download

JPEG = encoded(picture(2000, 1500), "JPEG", quality=95)


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str | None]] = []
        self.both_asked: threading.Barrier


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # headers and body are sent separately
    server: Site
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

    def serve_scan(self):
        self.answer(200, tiff_of(plain("red"), plain("blue")))

    def serve_meet(self):
        self.server.both_asked.wait(timeout=10)
        self.answer(200, JPEG)

    def serve_html(self):
        self.answer(200, b"<!doctype html><html>Sign in</html>", Content_Type="image/jpeg")

    def serve_missing(self):
        self.answer(404, b"no")

    def serve_loop(self):
        self.answer(302, b"", Location="/loop")

    def serve_metadata(self):
        self.answer(302, b"", Location="http://169.254.169.254/latest/meta-data/")

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
    server = Site()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def at(site, name):
    return ImageDocument(image_url=f"{site.base}/{name}?sig=secret")


@pytest.mark.parametrize("name", ["photo", "ranged"])
def test_only_the_first_bytes_are_downloaded_for_the_size(site, name):
    document = at(site, name)
    assert (document.size, document.mimetype) == ((2000, 1500), "image/jpeg")
    assert site.asked == [(f"/{name}?sig=secret", "bytes=0-65535")]


def test_the_whole_file_is_downloaded_if_the_header_is_longer(site):
    assert at(site, "late").size == (300, 200)
    assert [asked[1] for asked in site.asked] == ["bytes=0-65535", None]


def test_an_image_is_downloaded_once(site):
    document = at(site, "photo")
    assert document.prepare().original_size == document.size == (2000, 1500)
    assert document.to_pil().size == (2000, 1500) and document.thumbnail()
    assert document.with_detail("low").data_uri()
    assert len(site.asked) == 1


def test_each_page_of_a_tiff_file_behind_a_url_is_an_image(site):
    documents = load_images(f"{site.base}/scan.tif")
    assert [document.title for document in documents] == ["scan.tif#page=1", "scan.tif#page=2"]
    assert [pixel(document) for document in documents] == [(255, 0, 0), (0, 0, 255)] and len(site.asked) == 1


def test_many_threads_download_an_image_once(site):
    document = at(site, "photo")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: document.read(), range(32))) == {JPEG}
    assert len(site.asked) == 1


def test_two_images_are_downloaded_at_the_same_time(site):
    site.both_asked = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda name: at(site, name).read(), ["meet.1", "meet.2"]))


def test_a_forgotten_download_is_repeated_when_it_is_needed(site):
    document = at(site, "photo")
    assert document.read() == JPEG
    document.forget_download()
    assert document.size == (2000, 1500) and len(site.asked) == 2
    assert document.read() == JPEG and len(site.asked) == 3


def test_a_link_is_shown_as_an_image_once_a_model_has_needed_it(site):
    document = at(site, "photo")
    document.show_as_link()
    assert document.is_link and document.with_detail("high").is_link and site.asked == []
    document.prepare()
    assert not document.is_link
    document.forget_download()
    assert document.is_link


def test_a_downloaded_document_can_be_pickled(site):
    document = at(site, "photo")
    document.show_as_link()
    document.prepare()
    again = pickle.loads(pickle.dumps(document))
    assert again == document and again.read() == JPEG and len(site.asked) == 1
    again.forget_download()
    assert again.is_link and not document.is_link


@pytest.mark.parametrize("name", ["missing", "html"])
@pytest.mark.parametrize("inline_urls", [False, True])
def test_an_url_without_an_image_is_a_download_error_however_it_is_sent(site, name, inline_urls):
    llm, url = vn.connect("demo", inline_urls=inline_urls), f"{site.base}/{name}?token=secret-token-1234"
    calls = [
        lambda: llm.complete("What?", url),
        lambda: list(llm.stream_complete("What?", vn.load_image_urls([url]))),
        lambda: llm.chat([vn.ChatMessage("user", ["What?", vn.ImageDocument(image_url=url)])]),
        lambda: vn.Chat(llm).ask("What?", url),
    ]
    for call in calls:
        with pytest.raises(errors.ImageDownloadError) as caught:
            call()
        assert f"{site.base}/{name}" in str(caught.value) and "secret-token" not in str(caught.value)
    row = vn.compare(llm, "What?", url, progress=False)[0]
    assert "DownloadError" in str(row.error) and "secret-token" not in str(row.error)


@pytest.mark.parametrize(
    "name, kind, words",
    [
        ("missing", errors.ImageDownloadError, "404"),
        ("loop", errors.ImageDownloadError, "redirects too often"),
        ("html", errors.ImageDownloadError, "HTML page"),
        ("endless", errors.ImageDownloadError, "larger than 5 MB"),
        ("slow", errors.ImageDownloadError, "more than 0 seconds"),
        ("silent", errors.ImageDownloadError, "timed out"),
        ("cut", errors.ImageDownloadError, "cannot be reached"),
    ],
)
def test_a_failed_download_is_an_error_that_names_the_url_without_its_query(site, monkeypatch, name, kind, words):
    import httpx2

    monkeypatch.setattr(download, "MAX_DOWNLOAD", 5_000_000)
    if name == "slow":
        monkeypatch.setattr(download, "TOTAL_SECONDS", 0.3)
    if name == "silent":
        monkeypatch.setattr(download, "_client", lambda: httpx2.Client(timeout=0.3))
    with pytest.raises(kind, match=words) as caught:
        at(site, name).prepare()
    assert f"{site.base}/{name}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:9/x.png", "https://exa mple.org/"])
def test_an_invalid_or_unreachable_url_is_an_error(url):
    with pytest.raises(errors.ImageError):
        ImageDocument(image_url=url).prepare()


def test_the_grid_shows_remote_images_and_labels_failed_ones(site, tmp_path):
    figure = display_image_uris([f"{site.base}/photo", f"{site.base}/missing", str(tmp_path / "none.png")])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "photo   2000 x 1500"
    assert len(figure.axes[0].images) == 1
    assert "404" in figure.axes[1].texts[0].get_text()
    assert "There is no file" in figure.axes[2].texts[0].get_text()


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "0.0.0.0",
        "2130706433",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
    ],
)
def test_a_url_in_a_private_network_is_refused_unless_allowed(host, monkeypatch):
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: reached.append(address) or 1 / 0)
    document = ImageDocument(image_url=f"http://{host}/a.png")
    with pytest.raises(errors.ImageDownloadError, match=r"private network .*VISION_NB_ALLOW_PRIVATE_URLS=1"):
        document.read()
    assert reached == []
    monkeypatch.setenv("VISION_NB_ALLOW_PRIVATE_URLS", "1")
    with pytest.raises(ZeroDivisionError):
        document.read()


def test_a_name_that_resolves_to_a_private_address_is_refused(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    with pytest.raises(errors.ImageDownloadError, match="private network"):
        ImageDocument(image_url="http://images.example.org/a.png").read()


def test_a_redirect_into_a_private_network_is_refused(site):
    with pytest.raises(
        errors.ImageDownloadError, match=r"169\.254\.169\.254/latest/meta-data/ is in a private network"
    ):
        at(site, "metadata").read()


def test_a_redirect_from_another_host_to_this_machine_is_refused():
    request = httpx2.Request("GET", "http://127.0.0.1/a.png", extensions={"vision_nb_url": "https://example.org/a"})
    with pytest.raises(errors.ImageDownloadError, match="private network"):
        download._check_host(request)


def test_the_address_that_answered_is_checked_too(site, monkeypatch):
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))]
    resolve = socket.getaddrinfo
    asked = []

    def rebinding(host, *arguments, **options):
        asked.append(host)
        return public if len(asked) == 1 else resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(errors.ImageDownloadError, match="private network"):
        ImageDocument(image_url=f"http://images.example.org:{site.server_port}/photo").read()
    assert len(asked) == 2


def test_a_data_frame_of_images_asks_once_for_each_url(site):
    documents = vn.load_image_urls([f"{site.base}/photo", f"{site.base}/ranged", f"{site.base}/missing"])
    table = documents.to_dataframe("gpt-4o")
    assert sorted(path for path, _ in site.asked) == ["/missing", "/photo", "/ranged"]
    assert table.type[:2].tolist() == ["JPEG", "JPEG"] and "404" in table.error[2] and table.tokens.notna().sum() == 2


def test_cards_of_urls_download_each_image_once(site):
    documents = vn.load_image_urls([f"{site.base}/photo"])
    assert "JPEG" in documents._repr_html_() and "JPEG" in documents._repr_html_()
    assert documents.to_dataframe().width[0] == documents[0].size[0]
    assert [path for path, _ in site.asked] == ["/photo"]
