"""The label panel: its logic in Python, and its keys in a real browser."""

import nbformat
import pytest

import vision_nb as vn
from tests.axe import assert_async_page_accessible
from tests.conftest import encoded, picture
from tests.lab import browser_page, run_all
from tests.panel_page import assert_usable_by_touch, panel_page
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.store import Store


@pytest.fixture
def comparison(server, tmp_path):
    server.answer_with(lambda question: f"{question.prompt} <img src=x onerror=alert(1)>")
    models = [vn.OpenAIMultiModal(name, "k", server.openai_base) for name in ("gpt-4o", "gpt-4o-mini")]
    prompts = ["first?", "second?", "third?"]
    return vn.compare(models, prompts, picture(), store=tmp_path / "a.sqlite3", progress=False)


def panel_of(comparison, **options):
    return comparison.label(**{"annotator": "ann", "seed": 3, **options})


def test_a_score_goes_to_the_selected_aspect_and_moves_on(comparison):
    panel = panel_of(comparison)
    first = panel.row
    panel.score(4)
    assert panel.card["aspect"] == "relevance" and panel.row == first
    panel.score(5)
    assert panel.row != first and panel.card["aspect"] == "correctness" and panel.labeled == 1
    label = comparison.get_label(first, "ann")
    assert (label.correctness, label.relevance) == (4, 5)
    panel._receive({"action": "score", "aspect": "relevance", "value": 3, "position": 2}, [])
    assert panel.card["aspect"] == "correctness" and panel.row == panel._order[1]  # still without this score


def test_an_answer_that_was_skipped_is_shown_at_the_end(comparison):
    panel = panel_of(comparison)
    panel._receive({"action": "move", "by": 1, "position": 1}, [])
    for score in (4, 5) * 5:
        panel.score(score)
    assert panel.card["position"] == 1
    assert panel.card["message"] == "Back at the first answer that is not scored."
    for score in (4, 5) * 6:
        panel.score(score)
    assert panel.card["message"] == "All answers are scored."


def test_keys_pressed_while_the_kernel_was_busy_do_not_score_answers_that_were_not_seen(comparison):
    panel = panel_of(comparison)
    for _ in range(4):
        panel._receive({"action": "score", "value": 5, "position": 1}, [])
    assert panel.labeled == 1 and panel.card["position"] == 2
    assert comparison.get_label(panel.row, "ann") is None


def test_undo_restores_one_step_at_a_time(comparison):
    panel = panel_of(comparison)
    first = panel.row
    for score in (4, 5, 3):
        panel.score(score)
    panel.undo()
    panel.undo()
    assert panel.row == first and panel.card["scores"] == {"correctness": 4, "relevance": None}
    panel.undo()
    panel.undo()
    assert comparison.get_label(first, "ann") is None and not panel.card["can_undo"]


def test_answers_are_blind_and_shuffled_by_default(comparison):
    panel = panel_of(comparison)
    assert "gpt-4o" not in str(panel.card)
    assert panel._order != sorted(panel._order) and sorted(panel._order) == list(range(6))
    assert panel_of(comparison)._order == panel._order
    open_panel = panel_of(comparison, blind=False, shuffle=False)
    assert open_panel.card["model"] == "openai:gpt-4o" and open_panel._order == list(range(6))


def test_a_new_panel_starts_at_the_annotators_first_unlabeled_answer(comparison):
    panel = panel_of(comparison)
    panel.score(1)
    panel.score(2)
    again = panel_of(comparison)
    assert again.row == panel.row and again.labeled == 1
    assert panel_of(comparison, annotator="bob").labeled == 0


def test_answers_are_sanitized_before_they_reach_the_page(comparison):
    assert "<img" not in panel_of(comparison).card["answer"]


def test_an_invalid_message_changes_nothing(comparison):
    panel = panel_of(comparison)
    for message in (
        {"action": "score", "value": 9},
        {"action": "score"},
        {"action": "select", "aspect": "x"},
        {},
        {"action": "move", "by": 7},
    ):
        panel._receive({"position": 1, **message}, [])
    assert comparison._labels() == {} and panel.card["position"] == 1


def test_a_score_keeps_the_comment(comparison):
    panel = panel_of(comparison)
    panel._receive({"action": "comment", "text": "odd", "position": 1}, [])
    panel.score(2)
    label = comparison.get_label(panel.row, "ann")
    assert (label.comment, label.correctness) == ("odd", 2)


def test_a_comment_is_saved_with_its_answer_if_the_panel_has_moved_on(comparison):
    panel = panel_of(comparison)
    first = panel.row
    panel.score(4)
    panel.score(5)
    panel._receive({"action": "comment", "text": "odd", "position": 1}, [])
    assert comparison.get_label(first, "ann").comment == "odd" and comparison.get_label(panel.row, "ann") is None
    assert panel.card["position"] == 2 and panel.labeled == 1
    panel.undo()
    assert comparison.get_label(first, "ann").comment == "" and panel.row == first


@pytest.mark.browser
async def test_a_comment_that_is_being_typed_stays_with_its_answer(comparison):
    panel = panel_of(comparison)
    first = panel.row
    async with panel_page(panel) as page:
        comment = page.get_by_label("comment", exact=True)
        await comment.press_sequentially("od")
        panel.score(4)
        panel.score(5)  # the kernel was busy, and now shows the next answer
        await page.wait_for_selector(".vnb-label-progress:text('Answer 2')")
        await comment.press_sequentially("d")
        await comment.press("Enter")
        await page.wait_for_function("() => document.querySelector('.vnb-label-comment').value === ''")
    assert comparison.get_label(first, "ann").comment == "odd" and comparison.get_label(panel.row, "ann") is None


@pytest.mark.browser
async def test_the_image_is_enlarged_and_zoomed_by_keyboard(tmp_path):
    llm, prompts = vn.connect("demo"), ["What colors?", "How large?"]
    panel = panel_of(vn.compare(llm, prompts, vn.samples.path("chart"), store=tmp_path / "a", progress=False))
    async with panel_page(panel) as page:
        dialog, label = page.locator(".vnb-image-dialog"), page.locator(".vnb-label")
        await label.press("e")
        await page.wait_for_function("() => document.querySelector('.vnb-viewer-image').naturalWidth === 1000")
        assert "chart.png, 1,000 × 600" in await dialog.inner_text()
        await assert_async_page_accessible(page, ".vnb-image-dialog")
        for key in ("+", "+", "ArrowRight", "5"):  # not keys of the panel below
            await page.keyboard.press(key)
        image = page.locator(".vnb-viewer-image")
        assert "scale(1.5" in await image.evaluate("(image) => image.style.transform")
        await page.keyboard.press("Escape")
        assert not await dialog.is_visible() and panel.card["position"] == 1 and panel.labeled == 0
        await page.get_by_role("button", name="Enlarge chart.png").click()
        await dialog.wait_for()
        panel._move(1)
        panel._show()
        await dialog.wait_for(state="hidden")
        await assert_usable_by_touch(page)


def test_a_comparison_without_answers_cannot_be_labeled(server, tmp_path):
    server.fail(Fault(status=400))
    failed = vn.compare(
        vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base), "x?", picture(), store=tmp_path / "a", progress=False
    )
    with pytest.raises(errors.SettingsError, match="no answers to label"):
        vn.LabelPanel(failed)


def test_changes_made_elsewhere_are_shown_with_the_answer_and_after_a_reload(comparison):
    panel = panel_of(comparison)
    comparison.set_label(panel.row, correctness=1, relevance=2, annotator="ann")
    other = panel._order[-1]
    comparison.set_label(other, correctness=3, relevance=3, annotator="ann")
    panel._receive({"action": "select", "aspect": "relevance", "position": 1}, [])
    assert panel.card["scores"] == {"correctness": 1, "relevance": 2} and panel.card["labeled"] == 1
    panel._receive({"action": "ready"}, [])
    assert panel.card["labeled"] == 2
    comparison.remove_label(panel.row, "ann")
    panel._receive({"action": "ready"}, [])
    assert panel.card["labeled"] == 1


def test_images_with_the_same_content_share_their_label(server, tmp_path):
    images = [encoded(picture()), encoded(picture()), encoded(picture(seed=1))]
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    comparison = vn.compare(llm, "x?", images, store=tmp_path / "a", progress=False)
    panel = panel_of(comparison, shuffle=False)
    for score in (4, 5):
        panel.score(score)
    assert panel.labeled == 2
    panel.undo()
    assert panel.labeled == 0


def test_a_key_press_reads_the_labels_of_one_answer_only(comparison, monkeypatch):
    panel, read = panel_of(comparison), []
    labels = Store.labels

    def counted(self, keys):
        keys = list(keys)
        read.append(len(keys))
        return labels(self, keys)

    monkeypatch.setattr(Store, "labels", counted)
    for score in (4, 5, 3):
        panel.score(score)
    panel.undo()
    assert set(read) == {1}


CELLS = (
    "import vision_nb as vn\n"
    "comparison = vn.compare(['demo', 'demo:gpt-4o'], ['What colors?', 'How large?'], vn.samples.path('chart'),\n"
    "                        store='labels.sqlite3', progress=False)",
    "comparison.label(annotator='ann', seed=1)",
    "frame = comparison.to_dataframe()\nprint('SCORED', frame.correctness.notna().sum(), frame.relevance.notna().sum())",
)


@pytest.mark.browser
def test_labels_given_by_keyboard_are_found_after_a_reload(lab):
    address, root = lab
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "label.ipynb")
    with browser_page() as page:
        run_all(page, address, "label.ipynb")
        panel = page.locator(".vnb-label")
        panel.wait_for(timeout=90_000)
        panel.focus()
        for number, keys in enumerate((("4", "5"), ("3", "3"), ("2", "1")), 1):
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_function(
                f"() => document.querySelector('.vnb-label-progress').textContent.includes('{number} scored')"
            )
        page.keyboard.press("u")
        page.wait_for_function("() => document.querySelector('.vnb-label-progress').textContent.includes('2 scored')")
        assert page.locator(".vnb-label button[aria-pressed=true]").count() == 1
        assert panel.locator(".vnb-active").inner_text().startswith("\N{BLACK RIGHT-POINTING SMALL TRIANGLE} relevance")
        panel.get_by_role("button", name="correctness", exact=True).press("Enter")
        page.wait_for_function("() => document.activeElement.matches('.vnb-label')")
        panel.get_by_label("relevance 4").click(delay=300)  # the card that arrives must not replace the pressed button
        page.wait_for_function("() => document.querySelector('.vnb-label-progress').textContent.includes('3 scored')")
        page.keyboard.press("u")
        page.wait_for_function("() => document.querySelector('.vnb-label-progress').textContent.includes('2 scored')")
        panel.locator("input").press("Control+s")
        page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
        page.reload()
        run_all(page, address, "label.ipynb")
        page.wait_for_selector("text=SCORED 3 2", timeout=90_000)
        page.locator(".vnb-label-progress", has_text="2 scored").wait_for(timeout=90_000)
        assert page.foreign_hosts == set()
    labels = Store(root / "labels.sqlite3")
    (count,) = labels._connection.execute("SELECT COUNT(*) FROM labels WHERE annotator = 'ann'").fetchone()
    assert count == 3
