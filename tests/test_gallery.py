"""The gallery of a comparison: in a notebook, as a row, as a DataFrame with images, and as an HTML page."""

import json
import re

import pytest

import vision_nb as vn
from tests.axe import assert_accessible
from tests.conftest import encoded, picture
from tests.extractions import make_extraction, receipt
from tests.lab import browser_page
from vision_nb import errors
from vision_nb.comparison.budget import run_budget
from vision_nb.comparison.gallery import MAX_HTML
from vision_nb.comparison.grid import make_grid
from vision_nb.comparison.result import Comparison
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.demo import Fault

QUESTION = "How many people are in the image?"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encoded(picture(40 + number, 30, seed=number)))
    return folder


@pytest.fixture
def ask(server, tmp_path):
    """Return a function that compares models on questions and images, with a store of its own."""

    def compare(images, *names, prompts=QUESTION, **options):
        llms = [
            vn.OpenAIMultiModal(name, "k", server.openai_base, max_retries=0)
            for name in names or ("gpt-4o", "gpt-4o-mini")
        ]
        return vn.compare(
            llms, prompts, images, store=tmp_path / "answers.sqlite3", progress=False, concurrency=1, **options
        )

    return compare


def by_width(answers):
    """Answer by the model and by the image's width."""
    return lambda question: answers[question.model][question.images[0].width - 40]


def bodies(html):
    """Return the class and the HTML of each image's rows."""
    return re.findall(r'<tbody(?: class="([^"]*)")?>(.*?)</tbody>', html, re.DOTALL)


def test_one_question_is_in_the_head_and_several_are_numbered(server, ask, folder):
    server.answer_with("Two.")
    one = ask(folder)._repr_html_()
    assert one.count(QUESTION) == 1
    several = ask(folder, prompts=[QUESTION, "Why <b>?"])._repr_html_()
    assert several.count(QUESTION) == 1 and several.count("Why &lt;b&gt;?") == 1 and "<b>?" not in several
    assert [re.findall(r">(\d)\.</td>", html) for _, html in bodies(several)] == [["1", "2"]] * 3


def test_images_are_marked_as_failed_and_as_disagreeing(server, ask, folder):
    server.answer_with(by_width({"gpt-4o": ["Two.", "3", "no"], "gpt-4o-mini": ["two", "4", "yes"]}))
    server.fail(Fault(status=400, body={"error": {"message": "refused"}}))
    html = ask(folder)._repr_html_()
    assert [marks for marks, _ in bodies(html)] == ["vnb-failed", "vnb-disagreeing", "vnb-disagreeing"]
    for label in ("all 3", "failed 1", "disagreeing 2"):
        assert f"> {label}</label>" in html


def test_long_texts_of_several_models_do_not_count_as_disagreeing(server, ask, folder):
    server.answer_with(lambda question: f"{question.model} sees " + "a long street with houses " * 4)
    html = ask(folder)._repr_html_()
    assert [marks for marks, _ in bodies(html)] == ["", "", ""] and "disagreeing" not in html


def test_models_that_disagree_on_a_field_are_marked(server, ask, folder):
    server.answer_with(by_width({"a": ['{"count": 1}'] * 3, "b": ['{"count": 1}', '{"count": 2}', '{"count": 1}']}))
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    assert [marks for marks, _ in bodies(ask(folder, "a", "b", schema=schema)._repr_html_())] == [
        "",
        "vnb-disagreeing",
        "",
    ]


def test_a_long_answer_is_folded_and_a_short_one_is_not(server, ask, folder):
    server.answer_with(by_width({"gpt-4o": ["word **bold** " * 60, "<details>short", "x"]}))
    (_, long), (_, short), _ = bodies(ask(folder, "gpt-4o")._repr_html_())
    summary = re.search(r"<summary.*?</summary>", long)[0]
    assert "word bold word" in summary and "<u>more</u>" in summary and "<strong>" not in summary
    assert long.count("<strong>bold</strong>") == 60
    assert "<details" not in short and "&lt;details&gt;short" in short


def test_many_fields_are_folded_and_a_disagreement_among_them_is_shown(server, ask, folder):
    values = {f"field{number:02}": 1 for number in range(15)}
    server.answer_with(by_width({"a": [json.dumps(values)] * 3, "b": [json.dumps(values | {"field14": 2})] * 3}))
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in values}}
    _, html = bodies(ask(folder, "a", "b", schema=schema)._repr_html_())[0]
    assert re.findall(r"<summary.*?</summary>", html)[0].count("the models disagree") == 2  # the title and the label
    assert "7 fields" in html


def test_pages_after_the_first_are_folded(server, ask):
    server.answer_with("Two.")
    html = ask([picture(40 + number, 30, seed=number) for number in range(23)], "gpt-4o")._repr_html_()
    assert re.findall(r"<summary>(Images \d+ to \d+)</summary>", html) == ["Images 11 to 20", "Images 21 to 23"]
    assert html.count('type="radio"') == 3 and len(bodies(html)) == 23


def test_two_galleries_on_a_page_do_not_share_their_radio_buttons(server, ask):
    server.answer_with("Two.")
    comparison = ask([picture(40 + number, 30, seed=number) for number in range(12)], "gpt-4o")
    names = [set(re.findall(r' name="([^"]+)"', comparison._repr_html_())) for _ in range(2)]
    assert len(names[0]) == 1 and names[0].isdisjoint(names[1])


@pytest.mark.slow
def test_a_gallery_of_200_photos_and_3_models_is_small_and_has_the_failed_ones(tmp_path):
    photo = encoded(picture(400, 300), "JPEG")
    images = [vn.ImageDocument(image=photo, image_name=f"{number}.jpg") for number in range(200)]
    grid = make_grid([vn.DemoMultiModal(f"gpt-4o-{number}") for number in range(3)], QUESTION, images)
    answer = vn.CompletionResponse("**A street** with a long row of houses and people. " * 20, usage=vn.Usage(900, 200))
    rows = [row.with_answer(answer, from_store=False) for row in Rows(grid, tmp_path / "a")]
    rows[-1] = rows[-1].with_error(errors.RateLimitError("refused"))
    comparison = Comparison(
        rows, grid=grid, store=tmp_path / "a", budget=run_budget(grid.models, None), options=RunOptions()
    )
    html = comparison._repr_html_()
    assert len(html) < MAX_HTML == 300_000
    shown = bodies(html)
    assert len(shown) > 60 and shown[-1][0] == "vnb-failed"
    assert f"Shown: {len(shown)} of 200 images" in html and "to_html() writes a page with all" in html
    assert len(bodies(comparison.to_html(image_side=100))) == 200


def test_a_row_is_displayed_with_its_question_answer_and_image(server, ask, folder, tmp_path):
    server.answer_with("Two <b>people</b>. " + "word " * 100)
    html = ask(folder, "gpt-4o")[0]._repr_html_()
    assert "data:image/webp" in html and QUESTION in html and "openai:gpt-4o" in html and "<u>more</u>" in html
    assert "<b>people" not in html and "0.png" in html and str(tmp_path) not in html


def test_a_failed_row_is_displayed_with_its_error(server, ask, folder):
    server.fail(Fault(status=400, body={"error": {"message": "refused <b>"}}))
    row = ask(folder, "gpt-4o")[0]
    assert "RequestRejectedError" in row._repr_html_() and "refused &lt;b&gt;" in row._repr_html_()


def test_the_error_of_a_damaged_file_is_displayed_without_its_folders(ask, tmp_path):
    (tmp_path / "broken.png").write_bytes(encoded(picture())[:60])
    comparison = ask(tmp_path / "broken.png", "gpt-4o")
    row = comparison[0]
    for text in (comparison._repr_html_(), comparison.to_html(), row._repr_html_(), repr(row), str(row)):
        assert "CorruptImageError: broken.png is" in text and str(tmp_path) not in text
    assert str(tmp_path) in row.error


def test_a_dataframe_can_have_thumbnails(server, ask, folder):
    server.answer_with("<script>x</script>")
    html = ask(folder).to_dataframe(thumbnails=True)._repr_html_()
    assert html.count("<img") == 6 and "<script" not in html and "&lt;script&gt;" in html


def test_the_page_is_complete_and_escaped_and_allows_only_its_own_script(server, ask, folder, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)> $x^2$ " + "word " * 2_000 + "THE-END"
    server.answer_with(evil)
    path = tmp_path / "page.html"
    comparison = ask(folder, prompts="</title><script>alert(2)</script>")
    assert comparison.to_html(path, title="</title><b>") is None
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == 1 and "<title>&lt;/title&gt;&lt;b&gt;</title>" in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" in html
    assert html.count("THE-END") == 6 and "<math" in html and "src=x" not in html.replace("&lt;img src=x", "")
    assert not re.search(r"""(?:src|href)=["'](?!data:image/)""", html)
    assert len(comparison.to_html(title="</title><b>")) == len(html)


@pytest.mark.parametrize("options", [{"image_side": 0}, {"image_side": 9_999}, {"page_size": 0}, {"page_size": 1.5}])
def test_an_invalid_option_of_the_page_raises(server, ask, folder, options):
    server.answer_with("Two.")
    with pytest.raises(errors.SettingsError, match=next(iter(options))):
        ask(folder, "gpt-4o").to_html(**options)


def test_the_name_of_a_model_does_not_leave_its_style_rule(server, ask, folder):
    server.answer_with("Two.")
    html = ask(folder, 'a"}</style><b>x', "b")._repr_html_()
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert 'content:"openai\\3a a\\22 \\7d \\3c \\2f style\\3e \\3c b\\3e x"' in style and "<b>x" not in html


def test_the_page_of_an_extraction_has_all_rows_with_their_marks(tmp_path):
    answers = [[receipt(), receipt(shop="</script><script>x")], [receipt(), None], [receipt(), receipt()]]
    extraction = make_extraction(tmp_path, answers, repaired=[4])
    path = tmp_path / "page.html"
    assert extraction.to_html(path, page_size=2) is None
    html = path.read_text(encoding="utf-8")
    marks = [" ".join(sorted(classes.split())) for classes, _ in bodies(html)]
    assert marks == [
        "vnb-c0 vnb-disagreeing",
        "vnb-c1 vnb-disagreeing",
        "vnb-c0",
        "vnb-c1 vnb-failed",
        "vnb-c0 vnb-repaired",
        "vnb-c1",
    ]
    assert html.count("<script") == 1 and html.count("data:image/webp") == 6
    assert bodies(extraction._repr_html_())[0][0] == "vnb-failed vnb-c1"


@pytest.mark.browser
def test_two_galleries_in_a_notebook_do_not_share_their_styles(server, ask, folder):
    server.answer_with("Two.")
    outputs = [ask(folder, *names)._repr_html_() for names in (["a", "b"], ["c", "d", "e", "f"])]
    named = "(e) => getComputedStyle(e, '::before').content"
    with browser_page() as page:
        page.set_content("".join(outputs))
        cells = [page.locator(f".vnb-gallery:nth-of-type({number}) td.vnb-c0").first for number in (1, 2)]
        for width, names in (
            (1200, ["none", "none"]),
            (700, ["none", '"openai:c"']),
            (300, ['"openai:a"', '"openai:c"']),
        ):
            page.set_viewport_size({"width": width, "height": 800})
            assert [cell.evaluate(named) for cell in cells] == names


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_filters_turns_pages_searches_and_enlarges_with_the_keyboard(server, ask, tmp_path, scheme):
    long = "Two people walk along a street with many houses. " * 12
    answers = {"gpt-4o": [long] * 10 + ["2"] * 15, "gpt-4o-mini": [long] * 10 + ["2"] * 13 + ["3", "4"]}
    server.answer_with(by_width(answers))
    server.fail(Fault(status=400, body={"error": {"message": "refused"}}))
    images = [
        vn.ImageDocument(image=picture(40 + number, 30, seed=number), image_name=f"photo{number}.png")
        for number in range(25)
    ]
    ask(images).to_html(tmp_path / "page.html", page_size=10)
    with browser_page(color_scheme=scheme) as page:
        problems = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(error.message))
        page.goto((tmp_path / "page.html").as_uri())
        rows, status = page.locator(".vnb-rows > tbody:visible"), page.get_by_role("status")
        assert rows.count() == 10 and status.inner_text() == "images 1–10 of 25"
        assert_accessible(page)

        page.get_by_role("button", name="Next").press("Enter")
        page.get_by_role("button", name="Next").press("Enter")
        assert rows.count() == 5 and status.inner_text() == "images 21–25 of 25"
        assert page.get_by_role("button", name="Next").is_disabled()

        page.get_by_role("radio", name="all 25").press("ArrowRight")
        assert page.get_by_role("radio", name="failed 1").is_checked()
        assert rows.count() == 1 and "photo0.png" in rows.first.inner_text()
        page.get_by_role("radio", name="failed 1").press("ArrowRight")
        assert [text.split()[0] for text in rows.all_inner_texts()] == ["photo23.png", "photo24.png"]
        page.get_by_role("radio", name="all 25").check()

        page.get_by_role("searchbox").fill("PHOTO1")
        assert rows.count() == 10 and status.inner_text() == "images 1–10 of 11"
        page.get_by_role("searchbox").fill("nothing")
        assert rows.count() == 0 and status.inner_text() == "no images"
        page.get_by_role("searchbox").fill("")

        page.get_by_role("checkbox", name="openai:gpt-4o-mini").press("Space")
        assert page.locator(".vnb-c1:visible").count() == 0 and page.locator("td.vnb-c0:visible").count() == 10

        fold = page.locator("td.vnb-c0 summary:visible").first
        fold.press("Enter")
        assert fold.inner_text().strip() == "less"

        image = page.get_by_role("button", name="Enlarge photo2.png")
        image.press("Enter")
        page.locator("dialog img").wait_for()  # visible once it has been decoded
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")  # its end is an event of its own
        assert image.evaluate("(e) => e === document.activeElement")

        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        assert page.locator(".vnb-rows > thead").is_hidden()
        assert_accessible(page)
        assert problems == [] and page.foreign_hosts == set()
