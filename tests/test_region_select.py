"""Selecting regions of an image: what Python does with the page's messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.test_panel_messages import PROPERTY, send
from vision_nb import errors
from vision_nb.images.document import ImageList

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def selection():
    return vn.select_region(picture(200, 100))


def page_sends(selection, boxes, revision=1):
    send(selection, {"do": "boxes", "boxes": boxes, "view": "v", "revision": revision})


def sent_by(selection, monkeypatch):
    messages = []
    monkeypatch.setattr(selection, "send", messages.append)
    return messages


def test_boxes_and_crops_follow_the_page(selection):
    seen = []
    selection.observe(lambda change: seen.append(len(change["new"])), "boxes")
    page_sends(selection, [[10, 20, 60, 80, "a cat"], [0, 0, 200, 100, ""]])
    assert selection.boxes == (vn.Box(10, 20, 60, 80, "a cat"), vn.Box(0, 0, 200, 100))
    assert [crop.size for crop in selection.crops] == [(50, 60), (200, 100)]
    assert isinstance(selection.crops, ImageList)
    page_sends(selection, [], revision=2)
    assert selection.boxes == () and list(selection.crops) == [] and seen == [2, 0]


def test_boxes_are_clamped_to_the_image_and_to_whole_pixels(selection):
    page_sends(selection, [[-5, -5.5, 10.2, 10, ""], [190, 90, 1e300, 1e300, ""]])
    assert selection.boxes == (vn.Box(0, 0, 11, 10), vn.Box(190, 90, 200, 100))


@pytest.mark.parametrize(
    "box",
    [
        [1, 2, 3, 4],
        [1, 2, 3, 4, None],
        [1, 2, 3, "4", ""],
        [1, 2, True, 4, ""],
        [1, 2, float("nan"), 4, ""],
        [1, 2, 10**400, 4, ""],
        [3, 2, 1, 4, ""],
        [300, 2, 400, 4, ""],
        [5, 5, 5, 5, ""],
        {"left": 1},
        "12345",
        None,
    ],
)
def test_invalid_boxes_are_left_out(selection, box):
    page_sends(selection, [box, [1, 2, 3, 4, "x" * 500]])
    assert [tuple(one) for one in selection.boxes] == [(1, 2, 3, 4)]
    assert len(selection.boxes[0].label) == 200


def test_a_label_from_a_page_can_be_encoded(selection):
    page_sends(selection, [[1, 2, 3, 4, "a \ud800 cat \ud83d\ude00"]])
    assert selection.boxes[0].label == "a \ufffd cat \U0001f600"


def test_a_page_can_send_200_boxes(selection):
    page_sends(selection, [[0, 0, 5, 5, ""]] * 1000)
    assert len(selection.boxes) == 200


@PROPERTY
@given(message=st.dictionaries(st.sampled_from(["do", "boxes", "view", "revision"]), JSON), boxes=JSON)
def test_no_message_of_a_page_raises(message, boxes):
    selection = vn.select_region(picture(20, 10))
    for one in (message, {**message, "do": "boxes"}, {"do": "boxes", "boxes": boxes, "view": "v", "revision": 1}):
        send(selection, one)
    assert all(0 <= box.left < box.right <= 20 and 0 <= box.top < box.bottom <= 10 for box in selection.boxes)


def test_a_page_gets_the_image_and_each_reply_names_its_change(selection, monkeypatch):
    messages = sent_by(selection, monkeypatch)
    send(selection, {"do": "hello"})
    image, boxes = messages
    assert image["image"].startswith("data:image/jpeg;base64,") and image["size"] == (200, 100)
    assert boxes == {"boxes": []}
    page_sends(selection, [[0, 0, 500, 50, "a"]], revision=7)
    page_sends(selection, [[0, 0, 500, 50, " a"]], revision=8)  # changes nothing, but the page waits for a reply
    reply = {"boxes": [[0, 0, 200, 50, "a"]], "view": "v"}
    assert messages[2:] == [{**reply, "revision": 7}, {**reply, "revision": 8}]
    selection.boxes = [(1, 2, 3, 4)]
    assert messages[4:] == [{"boxes": [[1, 2, 3, 4, ""]]}]


def test_the_state_that_a_front_end_saves_has_neither_the_image_nor_the_boxes():
    selection = vn.select_region(
        vn.ImageDocument(image=encoded(picture(200, 100)), image_name="secret.png"), [(1, 2, 3, 4)]
    )
    send(selection, {"do": "hello"})
    state = {name: value for name, value in selection.get_state().items() if name not in ("_esm", "_css")}
    assert "boxes" not in state and "secret" not in str(state) and len(str(state)) < 1000


def test_the_repr_counts_the_boxes():
    selection = vn.select_region(vn.samples.path("chart"), [(1, 2, 3, 4)])
    where = "a notebook shows the panel; here, use .crop(...) of the image"
    assert repr(selection) == f"RegionSelect('chart.png', 1 box): {where}"
    selection.boxes = ()
    assert "0 boxes" in repr(selection)


def test_boxes_to_begin_with_keep_their_labels():
    selection = vn.select_region(picture(200, 100), [vn.Box(1.5, 2, 30, 400, "a cat"), (1, 2, 3, 4)])
    assert selection.boxes == (vn.Box(1, 2, 30, 100, "a cat"), vn.Box(1, 2, 3, 4))
    with pytest.raises(errors.SettingsError, match="A box is"):
        vn.select_region(picture(), [(1, 2, 3)])
    with pytest.raises(errors.SettingsError, match="contains no pixel"):
        selection.boxes = [(500, 500, 600, 600)]


def test_an_image_that_can_no_longer_be_read_is_an_error_in_the_widget(tmp_path, monkeypatch):
    path = tmp_path / "gone.png"
    picture().save(path)
    selection = vn.select_region(path)
    path.unlink()
    messages = sent_by(selection, monkeypatch)
    send(selection, {"do": "hello"})
    assert "gone.png" in messages[0]["error"]


@pytest.fixture
async def composer(server):
    panel = vn.ChatPanel(vn.connect("demo", api_base=server.openai_base))
    composer = panel._composer
    for name in ("a.png", "b.png"):
        composer.attach(vn.ImageDocument(image=encoded(picture(200, 100)), image_name=name, detail="low"))
    yield composer
    panel.close()


async def attach(composer, boxes, image_id="image-1", *, replace=False):
    send(composer, {"do": "attach_regions", "id": image_id, "boxes": boxes, "replace": replace})
    if composer._regions._task is not None:
        await composer._regions._task
    return [document.title for document in composer.documents]


async def test_the_page_gets_an_attached_image_to_select_parts_of_it(composer, monkeypatch):
    messages = []
    monkeypatch.setattr(composer._regions, "_send", messages.append)
    send(composer, {"do": "select_regions", "id": "image-2"})
    await composer._regions._task
    (content,) = messages
    assert (content["id"], content["name"], content["size"]) == ("image-2", "b.png", (200, 100))
    assert content["image"].startswith("data:image/jpeg;base64,")


async def test_selected_parts_are_attached_after_their_image_or_in_its_place(composer):
    parts = ["a.png#xywh=10,20,50,60", "a.png#xywh=0,0,100,100"]
    boxes = [[10, 20, 60, 80, ""], [0, 0, 100, 500, ""]]
    assert await attach(composer, boxes) == ["a.png", *parts, "b.png"]
    assert {document.detail for document in composer.documents} == {"low"}
    assert await attach(composer, boxes, replace=True) == [*parts, *parts, "b.png"]
    assert [image["name"] for image in composer.attachments] == [*parts, *parts, "b.png"]


@pytest.mark.parametrize("boxes", [[], [[1, 2, 3, 4]], [[300, 300, 400, 400, ""]], ["x", None, {}]])
async def test_without_a_part_nothing_is_attached_or_removed(composer, boxes):
    assert await attach(composer, boxes, replace=True) == ["a.png", "b.png"]


async def test_parts_of_a_removed_image_are_not_attached(composer):
    assert await attach(composer, [[0, 0, 9, 9, ""]], image_id="image-9") == ["a.png", "b.png"]
    send(composer, {"do": "attach_regions", "id": "image-1", "boxes": [[0, 0, 9, 9, ""]], "replace": False})
    send(composer, {"do": "remove", "id": "image-1"})  # while the part is cut out
    await composer._regions._task
    assert [document.title for document in composer.documents] == ["b.png"]


async def test_an_attached_image_that_cannot_be_read_is_an_error_in_the_panel(composer, tmp_path):
    path = tmp_path / "gone.png"
    picture().save(path)
    composer.attach(vn.ImageDocument(image_path=path))
    path.unlink()
    send(composer, {"do": "select_regions", "id": "image-3"})
    await composer._regions._task
    assert "gone.png" in composer.error
