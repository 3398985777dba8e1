"""Files in object stores are images, and their credentials appear nowhere."""

import pickle
import subprocess
import sys
import traceback

import fsspec
import pytest

from tests.conftest import encoded
from tests.drawn_files import colored_pdf, pixel, plain, tiff_of, write_video
from tests.s3_server import S3Server
from tests.secret_search import leaks
from vision_nb import ChatMessage, ImageDocument, errors, load_images
from vision_nb.conversation.serialization import read_question
from vision_nb.images import download, remote
from vision_nb.messages import user_message
from vision_nb.rendering.terminal import joined_parts
from vision_nb.store import Store

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYKEY"
KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    for color in ("red", "blue"):
        system.pipe(f"/bucket/{color}.png", encoded(plain(color)))
    system.pipe("/bucket/folder/img10.jpg", encoded(plain("white"), "JPEG"))
    system.pipe("/bucket/folder/img2.jpg", encoded(plain("black"), "JPEG"))
    system.pipe("/bucket/report.pdf", colored_pdf(2))
    system.pipe("/bucket/notes.txt", b"notes")
    system.pipe("/bucket/a[1].png", encoded(plain("green")))
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture
def bucket():
    made = S3Server({"a.png": encoded(plain("red", (400, 300))), "b.png": encoded(plain("blue")), "slow.png": None})
    yield made
    made.close()


@pytest.fixture
def options(bucket):
    return {"key": KEY, "secret": SECRET, "endpoint_url": bucket.url}


def names(documents):
    return [document.name for document in documents]


def test_a_remote_file_is_read_when_it_is_needed(memory):
    document = ImageDocument.of("memory://bucket/red.png")
    missing = ImageDocument.of("memory://bucket/none.png")
    assert document.name == "memory://bucket/red.png" and document.title == "red.png"
    assert document.size == (40, 30) and document.mimetype == "image/png" and pixel(document) == (255, 0, 0)
    assert document.prepare().notes == () and not document.is_remote
    assert names(user_message("What is this?", ["memory://bucket/red.png"]).image_documents) == [document.name]
    with pytest.raises(errors.ImageNotFoundError, match=r"There is no file memory://bucket/none.png"):
        missing.read()


def test_pages_of_tiff_files_and_chosen_frames_of_animations_are_images(memory):
    memory.pipe("/bucket/many/scan.tif", tiff_of(plain("red"), plain("blue")))
    memory.pipe("/bucket/many/spin.gif", encoded(plain("red"), "GIF", save_all=True, append_images=[plain("blue")]))
    scan, spin = "memory://bucket/many/scan.tif", "memory://bucket/many/spin.gif"
    pages = [f"{scan}#page=1", f"{scan}#page=2"]
    assert names(load_images(scan)) == names(load_images("memory://bucket/many/*.tif")) == pages
    assert [pixel(page) for page in load_images(scan)] == [(255, 0, 0), (0, 0, 255)]
    assert names(load_images(scan, pages=2)) == pages[1:]
    assert names(load_images(spin)) == [spin]
    assert names(load_images("memory://bucket/many/", frames=2)) == [*pages, f"{spin}#frame=1", f"{spin}#frame=2"]


def test_a_list_in_a_terminal_reads_no_remote_file(memory):
    images = load_images("memory://bucket/folder/")
    memory.rm("/bucket/folder", recursive=True)
    assert "no file" not in joined_parts(images._terminal_parts())


def test_patterns_and_folders_are_listed_in_natural_order(memory):
    assert names(load_images("memory://bucket/*.png")) == [
        f"memory://bucket/{name}.png" for name in ("a[1]", "blue", "red")
    ]
    assert names(load_images("memory://bucket/folder/")) == [f"memory://bucket/folder/img{n}.jpg" for n in (2, 10)]
    assert names(load_images("memory://bucket/a[1].png")) == ["memory://bucket/a[1].png"]
    with pytest.warns(UserWarning, match="notes.txt: its name does not end like that of an image"):
        found = load_images("memory://bucket/")
    assert len(found) == 3
    assert {(path.name, reason[:20]) for path, reason in found.skipped} == {
        ("notes.txt", "its name does not en"), ("report.pdf", "it is a PDF document"),
    }  # fmt: skip
    with pytest.warns(UserWarning, match="Skipped"):
        assert len(load_images("memory://bucket/", recursive=True)) == 5
    with pytest.raises(errors.ImageNotFoundError, match=r"no image in memory://bucket/\*.gif: check the bucket"):
        load_images("memory://bucket/*.gif")


def test_remote_pdf_documents_and_videos_have_pages_and_frames(memory, tmp_path):
    assert names(load_images("memory://bucket/report.pdf")) == [f"memory://bucket/report.pdf#page={n}" for n in (1, 2)]
    assert names(load_images("memory://bucket/*.pdf", pages=2)) == ["memory://bucket/report.pdf#page=2"]
    assert pixel(ImageDocument.of("memory://bucket/report.pdf#page=2")) == (0, 255, 0)
    memory.pipe("/bucket/talk.mp4", write_video(tmp_path / "talk.mp4").read_bytes())
    frames = load_images("memory://bucket/talk.mp4", every_s=2)
    assert names(frames) == [f"memory://bucket/talk.mp4#t={t}.0" for t in (0, 2, 4)]
    assert frames[1].to_pil().size == (64, 48)


@pytest.mark.parametrize("fragment", ["frame", "t"])
def test_a_number_of_5000_digits_names_no_frame(memory, fragment):
    memory.pipe("/bucket/a.gif", encoded(plain("red"), "GIF"))
    with pytest.raises(errors.ImageError):
        ImageDocument.of(f"memory://bucket/a.gif#{fragment}={'9' * 5000}").read()


def test_a_remote_pdf_document_of_a_web_server_has_pages(bucket):
    bucket.files["report.pdf"] = colored_pdf(2)
    url = f"{bucket.url}/bucket/report.pdf"
    assert names(load_images(url)) == [f"{url}#page=1", f"{url}#page=2"]
    assert pixel(load_images(f"{url}#page=2")[0]) == (0, 255, 0)


def test_a_url_that_names_several_pages_is_refused_without_its_login(bucket):
    bucket.files["report.pdf"] = colored_pdf(2)
    url = bucket.url.replace("://", f"://me:{KEY * 4}@")
    with pytest.raises(errors.SettingsError, match="names 2 images") as caught:
        ImageDocument.of(f"{url}/bucket/report.pdf#page=1-2")
    assert KEY not in str(caught.value)


def test_a_bucket_is_read_with_one_request_per_image(bucket, options):
    documents = load_images("s3://bucket/[ab].png", storage_options=options)
    assert names(documents) == ["s3://bucket/a.png", "s3://bucket/b.png"] and bucket.requests == ["GET list"]
    assert documents[0].size == (400, 300)
    assert [pixel(document) for document in documents] == [(255, 0, 0), (0, 0, 255)]
    assert documents[0].prepare().size == (400, 300)
    assert bucket.requests.count("GET a.png") == 2 and bucket.requests.count("GET b.png") == 1  # the size, the file


def test_credentials_are_used_and_shown_nowhere(bucket, options, tmp_path):
    named = f"s3://{KEY}:{SECRET.replace('/', '%2F')}@bucket/a.png"
    documents = [
        *load_images("s3://bucket/a.png", storage_options=options),
        *load_images(named, storage_options={"endpoint_url": bucket.url}),
        *load_images(named, storage_options={"endpoint_url": "http://127.0.0.1:9"}),
    ]
    for document in documents:
        shown = repr(document) + document.name + document.short_name + document.title + str(vars(document))
        assert SECRET not in shown and KEY not in shown and document.name == "s3://bucket/a.png"
    assert [document.size for document in documents[:2]] == [(400, 300)] * 2
    assert SECRET not in documents[0]._repr_html_()
    with pytest.raises(errors.ImageDownloadError, match=r"s3://bucket/a.png cannot be read") as caught:
        documents[2].read()
    assert not leaks(caught.value, SECRET) and not leaks(caught.value, KEY)
    assert not leaks(documents[0], SECRET) and not leaks(documents[0], KEY)
    with pytest.raises(errors.ImageDownloadError) as caught:
        load_images(named.replace("a.png", "*"), storage_options={"endpoint_url": "http://127.0.0.1:9"})
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown and KEY not in shown
    with pytest.raises(errors.ImageDownloadError) as caught:
        load_images("s3://bucket/*", storage_options={**options, "endpoint_url": "http://127.0.0.1:9"})
    assert not leaks(caught.value, SECRET) and not leaks(caught.value, KEY)


@pytest.mark.parametrize("padding", range(60, 130, 10))
def test_a_secret_that_a_file_systems_message_quotes_is_not_shown_in_part(memory, monkeypatch, padding):
    def cat_file(*args, **kwargs):
        raise OSError(f"{'x' * padding} the secret {SECRET} is wrong")

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    document = load_images("memory://bucket/none.png", storage_options={"secret": SECRET})[0]
    with pytest.raises(errors.ImageDownloadError) as caught:
        document.read()
    assert SECRET[:6] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": f"http://me:{KEY}@127.0.0.1:9"},
        {"client_kwargs": {"endpoint_url": f"http://me:{KEY}@127.0.0.1:9"}},
        {"headers": [("X-Auth", KEY)]},
        {"password": KEY.encode()},
        {"connection_string": f"AccountName=me;AccountKey={KEY};EndpointSuffix=core.windows.net"},
        {"config": {"retries": 2, 503: KEY}},
    ],
)
def test_secrets_within_storage_options_are_neither_shown_nor_pickled(memory, monkeypatch, options):
    def cat_file(*args, **kwargs):
        raise OSError(f"{KEY} is wrong")

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    document = load_images("memory://bucket/none.png", storage_options=options)[0]
    assert KEY.encode() not in pickle.dumps(document)
    with pytest.raises(errors.ImageDownloadError, match=r"\*\*\* is wrong") as caught:
        document.read()
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("options", [SECRET, [SECRET], {1: SECRET}])
def test_storage_options_that_are_not_named_arguments_are_refused_without_being_shown(options):
    with pytest.raises(errors.SettingsError, match=r"a dict of arguments for fsspec, such as \{'anon'") as caught:
        load_images("memory://bucket/none.png", storage_options=options)
    assert SECRET not in str(caught.value)


def test_the_address_of_an_endpoint_is_pickled_without_its_login(options):
    public = remote.StorageOptions({**options, "endpoint_url": "http://me:secret12@minio:9000"})
    assert public.arguments()["endpoint_url"] == "http://me:secret12@minio:9000"
    assert pickle.loads(pickle.dumps(public)).arguments() == {"endpoint_url": "http://minio:9000"}


@pytest.mark.parametrize("protocol", ["memory", "gs", "az", "hf"])
def test_a_login_in_a_url_that_takes_none_is_refused_without_showing_it(protocol):
    for source in ("bucket/a.png", "bucket/"):
        with pytest.raises(errors.UnsupportedImageError, match="was given with a login") as caught:
            load_images(f"{protocol}://me:{KEY}@{source}")
        assert KEY not in "".join(traceback.format_exception(caught.value))
    assert ImageDocument.of("memory://bucket/at 10:30@home.png").title == "at 10:30@home.png"


def test_a_secret_with_an_at_sign_is_not_taken_for_a_bucket(bucket):
    document = ImageDocument.of(f"s3://me:first@{KEY}@bucket/a@2x.png")
    assert document.name == "s3://bucket/a@2x.png" and KEY not in str(vars(document._content))


def test_a_remote_file_is_pickled(memory):
    document = ImageDocument.of("memory://bucket/red.png")
    copy = pickle.loads(pickle.dumps(document))
    assert copy == document and copy.read() == document.read() and copy.fingerprint() == document.fingerprint()


def test_a_signed_address_is_named_without_its_signature(memory):
    url = "memory://bucket/red.png?X-Amz-Signature=0123456789abcdef&versionId=7"
    assert ImageDocument.of(url).name == "memory://bucket/red.png?versionId=7"


def test_a_server_that_does_not_answer_is_an_error_after_the_limit(bucket, options, monkeypatch):
    monkeypatch.setattr(download, "TOTAL_SECONDS", 0.5)
    with pytest.raises(errors.ImageDownloadError, match=r"s3://bucket/slow.png took more than 0 seconds|1 seconds"):
        load_images("s3://bucket/slow.png", storage_options=options)[0].read()


def test_a_large_file_is_not_read_whole(memory, monkeypatch):
    monkeypatch.setattr(remote, "MAX_DOWNLOAD", 50)
    with pytest.raises(errors.ImageDownloadError, match=r"red.png is larger than"):
        ImageDocument.of("memory://bucket/red.png").read()


def test_the_memory_of_downloads_is_bounded_and_a_file_is_read_again(memory, monkeypatch):
    monkeypatch.setattr(remote.DOWNLOADS, "_max_bytes", 200)
    documents = load_images("memory://bucket/*.png")
    for document in documents:
        document.prepare()
    assert remote.DOWNLOADS._bytes <= 200
    assert pixel(documents[0]) == (0, 128, 0)


def test_the_stored_answers_of_a_remote_file_are_found_by_its_content(memory, tmp_path):
    (tmp_path / "red.png").write_bytes(encoded(plain("red")))
    store = Store(tmp_path / "answers.sqlite")
    assert store.digest(ImageDocument.of("memory://bucket/red.png")) == store.digest(
        ImageDocument.of(tmp_path / "red.png")
    )


@pytest.mark.parametrize(
    "url",
    ["sftp://10.0.0.1/a.png", "ftp://10.0.0.1/a.png", "smb://10.0.0.1/a.png", "http+unix://x/a.png", "github://a:b@/c"],
)
def test_a_file_system_that_could_reach_a_private_network_is_refused(url):
    with pytest.raises(errors.UnsupportedImageError, match="nor the URL of an object store"):
        load_images(url)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::http://169.254.169.254/a.png",
        "zip://a::s3://me:pw@b/c",
        "filecache::file:///etc/passwd",
        "local:///etc",
    ],
)
def test_chained_and_local_addresses_are_not_opened(url):
    with pytest.raises(errors.UnsupportedImageError, match="nor the URL of an object store"):
        load_images(url)


def test_a_saved_conversation_cannot_read_an_object_store_with_the_readers_credentials():
    with pytest.raises(ValueError, match="not saved as a URL"):
        read_question({"role": "user", "parts": [{"url": "s3://bucket/a.png", "detail": None}]})
    assert isinstance(
        read_question({"role": "user", "parts": [{"url": "https://e.org/a", "detail": None}]}), ChatMessage
    )


@pytest.mark.slow
@pytest.mark.parametrize("missing, words", [("fsspec", 'vision-nb[remote]" s3fs'), ("s3fs", 'vision-nb[remote]" s3fs')])
def test_a_missing_package_is_an_error_that_names_it(tmp_path, missing, words):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\nimport vision_nb as vn\n"
        "try:\n    vn.load_images('s3://bucket/a.png')[0].read()\n"
        "except vn.errors.UnsupportedImageError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.startswith("s3://bucket/a.png is a remote file: pip install") and words in told.stdout
