"""Pages of PDF documents and TIFF files, and frames of animations, are images of their own."""

import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import numpy as np
import psutil
import pytest
from PIL import GifImagePlugin, Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.drawn_files import COLORS, colored_pdf, nested_pdf, pdf_of, pixel, plain, tiff_of
from tests.secret_search import leaks
from vision_nb import ImageDocument, errors, load_images
from vision_nb.images import frame_reader, pages, parts, renderer
from vision_nb.images.pages import page_numbers
from vision_nb.messages import user_message
from vision_nb.store import Store


def encrypted(password="opensesame"):
    """Return a PDF document that needs a password, with the 40-bit key of PDF 1.4."""
    import hashlib

    filler = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    padded = (password.encode() + filler)[:32]

    def rc4(key, data):
        box, j, out = list(range(256)), 0, bytearray()
        for i in range(256):
            j = (j + box[i] + key[i % len(key)]) % 256
            box[i], box[j] = box[j], box[i]
        i = j = 0
        for byte in data:
            i = (i + 1) % 256
            j = (j + box[i]) % 256
            box[i], box[j] = box[j], box[i]
            out.append(byte ^ box[(box[i] + box[j]) % 256])
        return bytes(out)

    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + (-4 & 0xFFFFFFFF).to_bytes(4, "little") + b"0123456789abcdef").digest()[:5]
    user = rc4(key, filler)
    object_key = hashlib.md5(key + (5).to_bytes(3, "little") + bytes(2)).digest()[:10]
    content = rc4(object_key, b"1 0 0 rg 0 0 200 100 re f")
    filter_entry = b"<</Filter/Standard/V 1/R 2/P -4/O<%b>/U<%b>>>" % (owner.hex().encode(), user.hex().encode())
    data = pdf_of((200, 100, content), objects=[filter_entry])
    return data.replace(
        b"trailer<<", b"trailer<</Encrypt 3 0 R/ID[<%b><%b>]" % ((b"0123456789abcdef".hex().encode(),) * 2)
    )


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.pdf").write_bytes(colored_pdf(3))
    return tmp_path / "report.pdf"


def colors(documents):
    return [pixel(document) for document in documents]


def test_each_page_of_a_pdf_document_is_an_image_with_its_number_in_the_name(report):
    documents = load_images("report.pdf")
    assert [document.name for document in documents] == [f"report.pdf#page={number}" for number in (1, 2, 3)]
    assert repr(documents[1]) == "ImageDocument('report.pdf#page=2')"
    assert colors(documents) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert documents[0].size == documents[0].to_pil().size == (1275, 1650)
    assert documents[0].mimetype == "image/png"
    assert load_images(report, dpi=72, pages=1)[0].to_pil().size == (612, 792)
    assert load_images(report)[0].short_name.count("/") == 1


def test_a_page_of_text_is_a_gray_png_and_a_scan_is_a_jpeg():
    text = load_images(pdf_of((200, 100, b"0.5 g 0 0 100 50 re f")))[0]
    with Image.open(io.BytesIO(text.read())) as image:
        assert (image.format, image.mode) == ("PNG", "L")
    noise = picture(300, 200)
    buffer = io.BytesIO()
    noise.save(buffer, "PDF", resolution=150, quality=95)
    scan = load_images(buffer.getvalue())[0]
    assert scan.prepare().mimetype == scan.mimetype == "image/jpeg" and scan.size == (300, 200)


@pytest.mark.parametrize(
    "pages, numbers",
    [(2, [2]), (-1, [3]), ([3, 1], [3, 1]), ("1-2", [1, 2]), ("2-", [2, 3]), ("3, -3", [3, 1]), ("1-2, -1", [1, 2, 3]), ("1-3, -1", [1, 2, 3]), (range(1, 3), [1, 2]),
     ("2-99", [2, 3]), (iter([1]), [1])],
)  # fmt: skip
def test_pages_are_chosen_by_number_range_and_from_the_end(report, pages, numbers):
    assert [document.name for document in load_images(report, pages=pages)] == [f"{report}#page={n}" for n in numbers]


@pytest.mark.parametrize("pages", [0, "0", "a", "3-1", "", "1--2", 1.5, True, [None]])
def test_pages_that_are_not_numbers_are_a_settings_error(report, pages):
    with pytest.raises(errors.SettingsError, match="pages"):
        load_images(report, pages=pages)


@pytest.mark.parametrize("pages", [4, -4, "4-", "1,9", "4-5"])
def test_a_page_that_does_not_exist_is_an_error_with_the_number_of_pages(report, pages):
    with pytest.raises(errors.ImageNotFoundError, match=r"There is no page -?\d .*report.pdf: it has 3 pages"):
        load_images(report, pages=pages)


@pytest.mark.parametrize(
    "option", [{"dpi": 0}, {"dpi": "150"}, {"dpi": 1e9}, {"password": 5}, {"frames": 0}, {"every_s": 0}]
)
def test_an_option_that_is_invalid_is_a_settings_error(report, option):
    with pytest.raises(errors.SettingsError, match=next(iter(option))):
        load_images(report, **option)


def test_the_name_of_a_page_is_a_source(report):
    assert colors([ImageDocument.of("report.pdf#page=2"), *load_images("report.pdf#page=3", "report.pdf#page=1-2")]) == [
        (0, 255, 0), (0, 0, 255), (255, 0, 0), (0, 255, 0),
    ]  # fmt: skip
    with pytest.raises(errors.SettingsError, match=r"names 2 images: use vn.load_images"):
        ImageDocument.of("report.pdf#page=1-2")
    with pytest.raises(errors.ImageNotFoundError, match=r"missing.pdf#page=2"):
        load_images("missing.pdf#page=2")[0].read()
    odd = report.with_name("odd#page=2")
    odd.write_bytes(encoded(plain("blue")))
    assert colors(load_images("odd#page=2")) == [(0, 0, 255)]


def test_a_pdf_document_is_taken_as_bytes_open_file_and_row_of_a_dataset(report):
    data = report.read_bytes()
    with report.open("rb") as file:
        assert colors(load_images(file, pages=2)) == [(0, 255, 0)]
        assert file.tell() == 0
    assert colors(load_images(data, pages=2)) == [(0, 255, 0)]
    row = load_images({"bytes": data, "path": "folder/a.pdf"}, pages=-1)
    assert row[0].title == "a.pdf#page=3" and colors(row) == [(0, 0, 255)]
    assert colors(load_images({"bytes": None, "path": str(report)}, pages=1)) == [(255, 0, 0)]


@pytest.mark.slow
def test_functions_that_take_images_take_all_pages(report):
    message = user_message("What is this?", "report.pdf")
    assert [document.title for document in message.image_documents] == [f"report.pdf#page={n}" for n in (1, 2, 3)]
    with vn.connect("demo") as llm:
        assert llm.complete("What is this?", [report, plain("red")]).finish_reason == "stop"
    assert (
        vn.estimate_cost("What is this?", "report.pdf", "gpt-4o").usd
        > vn.estimate_cost("What is this?", "report.pdf#page=1", "gpt-4o").usd
    )


def test_a_folder_says_that_it_skips_pdf_documents_unless_pages_are_chosen(report):
    report.with_name("photo.png").write_bytes(encoded(plain("red")))
    with pytest.warns(
        UserWarning, match=r"report.pdf: it is a PDF document; pass its path, or vn.load_images\(..., pages="
    ):
        found = load_images(report.parent)
    assert [document.title for document in found] == ["photo.png"]
    assert [(path.name, reason[:20]) for path, reason in found.skipped] == [("report.pdf", "it is a PDF document")]
    report.with_name("damaged.pdf").write_bytes(b"%PDF-1.4\n")
    with pytest.warns(UserWarning, match=r"\(damaged.pdf: .* is a damaged PDF document.*[a-z]\)$"):
        assert len(load_images(report.parent, pages="1-")) == 4
    report.with_name("damaged.pdf").unlink()
    assert len(load_images(str(report.parent / "*.pdf"))) == 3


@pytest.mark.slow
def test_rendering_is_lazy_and_its_memory_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "long.pdf"
    path.write_bytes(colored_pdf(500))
    asked = []
    ask = renderer.Renderer.ask
    monkeypatch.setattr(
        renderer.Renderer,
        "ask",
        lambda self, content, kind, do, **more: asked.append(do) or ask(self, content, kind, do, **more),
    )
    documents = load_images(path)
    assert len(documents) == 500 and asked == ["describe"]
    monkeypatch.setattr(parts.RENDERED_PARTS, "_max_bytes", 30_000)
    for document in documents[:20]:
        document.read()
    assert parts.RENDERED_PARTS._bytes <= 30_000 and asked.count("render") == 20
    documents[19].read()
    assert asked.count("render") == 20


def test_pages_are_rendered_in_many_threads(report):
    documents = [document for dpi in range(10, 40) for document in load_images(report, dpi=dpi)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda document: (pixel(document), document.size), documents))
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255)] * 30
    assert found == [(color, document.size) for color, document in zip(expected, documents, strict=True)]


@pytest.mark.slow
def test_a_page_is_pickled_and_its_stored_answers_are_found_in_another_process(report, tmp_path):
    page = load_images(report, pages=2, dpi=60)[0]
    copy = pickle.loads(pickle.dumps(page))
    assert copy == page and hash(copy) == hash(page) and copy.read() == page.read()
    store = Store(tmp_path / "answers.sqlite")
    digests = {store.digest(document) for document in load_images(report, dpi=60)} | {
        store.digest(load_images(report, pages=2)[0])
    }
    assert len(digests) == 4 and store.digest(copy) in digests
    code = (
        f"import vision_nb as vn; from vision_nb.store import Store; d = vn.load_images({str(report)!r}, pages=2, dpi=60)[0]; "
        f"print(Store({str(tmp_path / 'other.sqlite')!r}).digest(d))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.strip() == store.digest(page)
    moved = tmp_path / "moved.pdf"
    moved.write_bytes(report.read_bytes())
    assert store.digest(load_images(moved, pages=2, dpi=60)[0]) == store.digest(page)


def test_the_digest_of_a_page_needs_no_rendering(report, tmp_path, monkeypatch):
    page = load_images(report)[0]
    monkeypatch.setattr(renderer.Renderer, "ask", None)
    assert len(Store(tmp_path / "answers.sqlite").digest(page)) == 64


def test_a_page_changes_with_its_file(report):
    page = load_images(report, pages=1)[0]
    assert colors([page]) == [(255, 0, 0)]
    report.write_bytes(pdf_of((100, 50, b"0 0 1 rg 0 0 100 50 re f")))
    assert colors([page]) == [(0, 0, 255)] and page.size == (209, 105)


def test_the_values_of_form_fields_and_rotated_pages_are_drawn():
    rotated = load_images(pdf_of((200, 100, b"1 0 0 rg 0 0 100 100 re f", b"/Rotate 90")), dpi=72)[0]
    assert rotated.size == rotated.to_pil().size == (100, 200)
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(MMMM)/F 4/Rect[0 0 100 50]/DA(0 g /Helv 30 Tf)>>"
    font = b"/DR<</Font<</Helv<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>/DA(0 g /Helv 30 Tf)"
    form = pdf_of(
        (100, 100, b"", b"/Annots[3 0 R]"),
        catalog=b"/AcroForm<</Fields[3 0 R]/NeedAppearances true%b>>" % font,
        objects=[field],
    )
    drawn = np.asarray(load_images(form, dpi=72)[0].to_pil().convert("L"))
    assert drawn[50:].min() < 60 and drawn[:40].min() == 255


def test_an_encrypted_pdf_document_needs_its_password_which_nothing_shows(tmp_path):
    path = tmp_path / "secret.pdf"
    path.write_bytes(encrypted())
    for password in (None, "wrong-password"):
        with pytest.raises(
            errors.UnsupportedImageError, match=r"secret.pdf is encrypted: pass the right password"
        ) as caught:
            load_images(path, password=password)
        assert not leaks(caught.value, "wrong-password")
    page = load_images(path, password="opensesame")[0]
    assert colors([page]) == [(255, 0, 0)]
    assert not leaks(page, "opensesame") and "opensesame" not in page._repr_html_()
    path.write_bytes(b"%PDF-1.7 ...")
    with pytest.raises(errors.CorruptImageError) as damaged:
        page.read()
    assert not leaks(damaged.value, "opensesame")


BROKEN = {
    "truncated": colored_pdf(3)[:300],
    "only a header": b"%PDF-1.7 ...",
    "no pages": pdf_of(),
    "a loop of pages": pdf_of().replace(b"/Count 0/Kids[]", b"/Count 1/Kids[2 0 R]"),
    "no size": pdf_of((0, 0, b"")),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_damaged_pdf_document_is_an_image_error(tmp_path, data):
    path = tmp_path / "broken.pdf"
    path.write_bytes(data)
    try:
        documents = load_images(path)
        documents[0].prepare()
    except errors.ImageError as error:
        assert "broken.pdf" in str(error) and 20 < len(str(error)) <= 300
    else:
        assert data is BROKEN["no size"]  # pdfium takes the size of a letter


def test_a_pdf_document_that_claims_a_million_pages_is_an_error():
    data = colored_pdf(1).replace(b"/Count 1", b"/Count 999999")
    with pytest.raises(errors.ImageTooLargeError, match=r"999,999 pages: choose at most 10,000"):
        load_images(data)
    with pytest.raises(errors.ImageError):
        load_images(data, pages=5000)[0].read()


def test_a_huge_page_is_an_error_that_says_the_resolution():
    page = load_images(pdf_of((14_400, 14_400, b"")))[0]
    for use in (lambda: page.size, page.prepare, page.to_pil):
        with pytest.raises(errors.ImageTooLargeError, match=r"30,000 x 30,000 pixels at 150 dpi.*lower dpi"):
            use()
    assert load_images(pdf_of((14_400, 14_400, b"")), dpi=10)[0].size == (2000, 2000)


@pytest.mark.slow
def test_a_page_that_takes_too_long_is_an_error_and_the_next_one_is_rendered(monkeypatch, report):
    monkeypatch.setattr(renderer, "MAX_SECONDS", 3.0)
    bomb = load_images(nested_pdf(9))[0]
    with pytest.raises(errors.ImageTooLargeError, match="takes more than 3 seconds"):
        bomb.read()
    monkeypatch.setattr(renderer, "MAX_SECONDS", 60.0)
    assert colors(load_images(report, pages=1)) == [(255, 0, 0)]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is limited on Linux")
def test_a_page_that_takes_too_much_memory_is_an_error(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    text = renderer._CHILD.read_text().replace("MAX_MEMORY = 3 << 30", "MAX_MEMORY = 500 << 20")
    child.write_text(text)
    monkeypatch.setattr(renderer, "_CHILD", child)
    small = renderer.Renderer()
    page = load_images(nested_pdf(8))[0]
    with pytest.raises(errors.ImageError, match="memory"):
        small.ask(cast(Any, page._content).container, "pdf", "render", name=page.name, number=1, dpi=72, password=None)
    small.close()


def test_an_interrupted_rendering_does_not_mix_up_answers(report, monkeypatch):
    pages = load_images(report, dpi=30)
    made = renderer.renderer()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("vision_nb.images.renderer.json.loads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pages[0].read()
    assert colors(pages) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert made is renderer.renderer()


def test_the_rendering_process_gets_no_api_keys(report, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-parent")
    monkeypatch.setenv("COMPANY_PASSWORD", "hunter2")
    made = renderer.Renderer()
    page = cast(Any, load_images(report, pages=1)[0]._content)
    try:
        made.ask(page.container, "pdf", "render", name=page.name, number=1, dpi=72, password=None)
        environment = psutil.Process(made._process.pid).environ()
    finally:
        made.close()
    assert environment["PATH"]
    assert not [name for name in environment if "KEY" in name or "PASSWORD" in name]


@pytest.mark.slow
def test_the_rendering_process_ends_with_its_parent(report, tmp_path):
    code = (
        f"import vision_nb as vn, os, psutil; vn.load_images({str(report)!r}); "
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    child = int(told.stdout)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("package, kind, words", [("pypdfium2", "pdf", "PDF document"), ("av", "video", "video")])
def test_a_missing_package_is_an_error_that_names_the_extra(tmp_path, package, kind, words):
    (tmp_path / "report.pdf").write_bytes(colored_pdf(1))
    (tmp_path / "talk.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    name = {"pdf": "report.pdf", "video": "talk.mp4"}[kind]
    code = (
        f"import sys; sys.modules[{package!r}] = None\nimport vision_nb as vn\n"
        f"try:\n    vn.load_images({name!r})\nexcept vn.errors.UnsupportedImageError as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.startswith(f'{name} is a {words}: pip install "vision-nb[{kind}]"')


def test_each_page_of_a_tiff_file_is_an_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.tiff").write_bytes(tiff_of(*map(plain, COLORS[:3])))
    documents = load_images("scan.tiff")
    assert [document.name for document in documents] == [f"scan.tiff#page={n}" for n in (1, 2, 3)]
    assert colors(documents) == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert documents[0].size == (40, 30) and documents[2].prepare().notes == ()
    assert colors(load_images("scan.tiff", pages=-1)) == colors(load_images("scan.tiff#page=3")) == [(0, 0, 255)]
    assert colors(load_images(f"{(tmp_path / 'scan.tiff').as_uri()}#page=3")) == [(0, 0, 255)]
    assert colors(load_images((tmp_path / "scan.tiff").read_bytes(), pages=2)) == [(0, 128, 0)]
    assert len(load_images(tmp_path)) == 3
    with pytest.raises(errors.ImageNotFoundError, match=r"There is no page 9 in scan.tiff"):
        load_images("scan.tiff", pages=9)


def test_the_sizes_of_pages_and_frames_are_read_in_one_pass(monkeypatch):
    scan = tiff_of(plain("red"), plain("green", (20, 15)), plain("blue"))
    spin = encoded(plain("red"), "GIF", save_all=True, append_images=[plain("blue")], duration=100)
    documents = [*load_images(scan), *load_images(spin, every_s=0.1)]
    for opener in ("open_image", "open_frame"):
        monkeypatch.setattr(pages, opener, None)  # each page or frame is found by reading all before it
    assert [document.size for document in documents] == [(40, 30), (20, 15), (40, 30), (40, 30), (40, 30)]


def changing_gif(count):
    """Return an animation in which each frame changes a part of the one before."""
    frames = [Image.new("RGB", (40, 30), "white")]
    for number in range(1, count):
        frame = frames[-1].copy()
        frame.paste((number * 5 % 256, 255 - number * 5 % 256, 60), (number % 30, number % 20, number % 30 + 8, 28))
        frames.append(frame)
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, disposal=1)


def decoded(data, index):
    with Image.open(io.BytesIO(data)) as image:
        image.seek(index)
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def decoded_frames(monkeypatch):
    """The frames of animations that are decoded, also on the way to another frame."""
    found, seek = [], GifImagePlugin.GifImageFile._seek

    def counted(image, frame, *arguments, **options):
        found.append(frame)
        return seek(image, frame, *arguments, **options)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", counted)
    return found


def test_the_frames_of_an_animation_are_decoded_once_in_their_order(tmp_path, decoded_frames):
    (tmp_path / "spin.gif").write_bytes(changing_gif(60))
    documents = load_images(tmp_path / "spin.gif", frames=60)
    decoded_frames.clear()
    for document in documents:
        document.read()
    assert len(documents) == 60 and len(decoded_frames) < 2 * 60


def test_frames_and_pages_that_are_read_in_any_order_and_by_several_threads_are_the_right_ones(tmp_path):
    data = changing_gif(40)
    pages_of_scan = [plain((number, 0, 0)) for number in range(40)]
    (tmp_path / "spin.gif").write_bytes(data)
    (tmp_path / "scan.tiff").write_bytes(tiff_of(*pages_of_scan))
    documents = [*load_images(tmp_path / "spin.gif", frames=40), *load_images(tmp_path / "scan.tiff")]
    expected = [*(decoded(data, index) for index in range(40)), *map(np.asarray, pages_of_scan)]
    order = np.random.default_rng(1).permutation(80)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda index: np.asarray(Image.open(io.BytesIO(documents[index].read()))), order))
    for index, pixels in zip(order, found, strict=True):
        assert (pixels.reshape(30, 40, -1)[..., :3] == expected[index]).all()


def test_threads_that_read_an_animation_together_do_not_begin_again_for_each_frame(tmp_path, decoded_frames):
    (tmp_path / "spin.gif").write_bytes(changing_gif(200))
    documents = load_images(tmp_path / "spin.gif", frames=200)
    decoded_frames.clear()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ImageDocument.read, documents))
    assert len(decoded_frames) < 5_000  # 20,000 if each frame begins again


def test_an_animation_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "spin.gif"
    path.write_bytes(changing_gif(5))
    documents = load_images(path, frames=5)
    documents[1].read()
    others = [plain("blue"), plain("red"), plain("blue"), plain("red")]
    path.write_bytes(encoded(plain("red"), "GIF", save_all=True, append_images=others, duration=100))
    os.utime(path, (0, 0))
    assert colors(documents[2:4]) == [(255, 0, 0), (0, 0, 255)]


def test_few_files_stay_open_however_many_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_reader, "_open_files", [])
    for number in range(20):
        (tmp_path / f"{number}.gif").write_bytes(changing_gif(3 + number))
        load_images(tmp_path / f"{number}.gif", frames=3)[0].read()
    assert len(frame_reader._open_files) == frame_reader.MAX_OPEN
    monkeypatch.setattr(frame_reader, "MAX_BYTES", 0)
    load_images(tmp_path / "0.gif", frames=3)[1].read()
    assert frame_reader._open_files == []


def test_an_error_names_the_page_that_is_damaged(tmp_path):
    data = tiff_of(*(picture(200, 150, seed=seed) for seed in range(4)))
    first, *_, last = load_images(data[:-20_000])
    first.read()
    with pytest.raises(errors.CorruptImageError, match="page=4"):
        last.read()


def test_a_tiff_file_of_one_page_is_one_image(tmp_path):
    path = tmp_path / "scan.tiff"
    path.write_bytes(tiff_of(plain("red")))
    assert load_images(path)[0].name == str(path)


def test_smaller_versions_of_a_page_in_a_tiff_file_are_not_pages():
    whole, small, other = plain("red"), plain("red", (20, 15)), plain("blue")
    small.encoderinfo = {"tiffinfo": {254: 1}}
    documents = load_images(tiff_of(whole, small, other))
    assert [document.size for document in documents] == [(40, 30), (40, 30)]
    assert colors(documents) == [(255, 0, 0), (0, 0, 255)]


def test_a_damaged_tiff_file_is_an_image_error_when_it_is_read():
    data = bytearray(tiff_of(*map(plain, COLORS)))
    for cut in (len(data) // 3, len(data) - 200):
        for document in load_images(bytes(data[:cut])):
            try:
                document.prepare()
            except errors.ImageError:
                break
        else:
            pytest.fail("no error")


def test_an_animation_is_its_first_frame_unless_frames_are_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = [plain(color) for color in COLORS[:4]]
    for kind in ("gif", "webp"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind.upper(), save_all=True, append_images=frames[1:], duration=500, lossless=True)
        (tmp_path / f"move.{kind}").write_bytes(buffer.getvalue())
        name = f"move.{kind}"
        assert [document.name for document in load_images(name)] == [name]
        assert [document.name for document in load_images(name, frames=2)] == [f"{name}#frame=2", f"{name}#frame=4"]
        assert [document.name for document in load_images(name, every_s=1)] == [f"{name}#frame=1", f"{name}#frame=3"]
        assert len(load_images(name, frames=99)) == 4
        assert colors([ImageDocument.of(f"{name}#frame=3")]) == [(0, 0, 255)]
    (tmp_path / "still.gif").write_bytes(encoded(plain("red"), "GIF"))
    assert [document.name for document in load_images("still.gif", frames=3)] == ["still.gif"]


def test_a_page_that_is_chosen_twice_is_loaded_once(report):
    assert [image.title for image in load_images(report, pages="1-2, -1, 3, 2")] == [
        f"report.pdf#page={number}" for number in (1, 2, 3)
    ]
    assert page_numbers([3, -1, 1], 3, "a.pdf") == [3, 1]


@pytest.mark.parametrize(
    ("pages", "numbers"),
    [
        ("1-3, -1", [1, 2, 3, 9]),
        ("-1, 1-3", [9, 1, 2, 3]),
        ("-2,-1,8-", [8, 9]),
        (" 2 - 3 ,-3", [2, 3, 7]),
        ("7-,1-2", [7, 8, 9, 1, 2]),
    ],
)
def test_ranges_and_pages_from_the_end_are_read_in_the_given_order(pages, numbers):
    assert page_numbers(pages, 9, "a.pdf") == numbers


def test_a_comparison_reads_ranges_and_pages_from_the_end(server, report):
    comparison = vn.compare(
        vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base),
        "What?",
        load_images(report, pages="1-2, -1"),
        progress=False,
    )
    assert [row.document.title for row in comparison] == [f"report.pdf#page={number}" for number in (1, 2, 3)]
    assert len(server.requests) == 3 and not any(row.error for row in comparison)


def test_page_numbers_of_a_large_document_are_limited():
    assert page_numbers("1-10000", 10**6, "a.pdf")[-1] == 10_000
    with pytest.raises(errors.ImageTooLargeError, match="choose at most 10,000"):
        page_numbers(None, 10_001, "a.pdf")
