"""What a request carries of an image, by provider and setting."""

import httpx2
import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb import errors


def blank(width, height):
    return vn.ImageDocument(image=encoded(Image.new("L", (width, height), 200)), image_name="scan.png")


@pytest.mark.parametrize("detail, sent", [("original", (3000, 2400)), ("high", (2048, 1638)), (None, (2048, 1638))])
def test_a_model_without_a_rule_gets_all_pixels_at_original_and_a_note_otherwise(server, detail, sent):
    with vn.LocalMultiModal("unknown-vl", api_base=server.openai_base, image_detail=detail) as llm:
        prepared = llm.outgoing(blank(3000, 2400)).prepared
    assert prepared.size == sent
    assert prepared.notes == (() if detail == "original" else ("scaled from 3000 x 2400 pixels to 2048 x 1638",))


@pytest.mark.parametrize(
    "model, max_side, sent",
    [("unknown-vl", 2600, (2600, 2080)), ("llava", 2600, (2600, 2080)), ("gpt-4o", 500, (500, 400))],
)
def test_max_side_limits_the_size_that_is_sent(server, model, max_side, sent):
    with vn.LocalMultiModal(model, api_base=server.openai_base, max_side=max_side) as llm:
        assert llm.outgoing(blank(3000, 2400)).prepared.size == sent
        assert llm.identity["max_side"] == max_side
        if model == "gpt-4o":
            assert vn.estimate_cost("", [blank(3000, 2400)], llm).images[0].tokens == 85 + 170
    with pytest.raises(errors.SettingsError, match="max_side"):
        vn.LocalMultiModal(model, api_base=server.openai_base, max_side=0)


async def test_the_response_has_a_note_for_each_changed_image(server):
    images, notes = [blank(3000, 2400), blank(30, 24)], ("scan.png: scaled from 3000 x 2400 pixels to 960 x 768",)
    with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        assert llm.complete("What is this?", images).image_notes == notes
        assert [*llm.stream_complete("What is this?", images)][-1].image_notes == notes
    async with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        assert (await llm.acomplete("What is this?", images)).image_notes == notes
        assert [r async for r in await llm.astream_complete("What is this?", images)][-1].image_notes == notes


def test_a_long_screenshot_is_sent_with_a_warning_that_suggests_tiles(server):
    screenshot = blank(1200, 12000)
    with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        with pytest.warns(UserWarning, match=r"204 x 2048, where text may be unreadable.*split\(7, 1, overlap=50\)"):
            llm.complete("What is this?", screenshot)
        response = llm.complete("What is this?", screenshot.split(7, overlap=50))
    assert all("scan.png (row" in note and " to 768 x " in note for note in response.image_notes)


def test_tiles_cover_the_image_and_share_the_overlap():
    whole = picture(100, 90)
    document = vn.ImageDocument(image=encoded(whole), detail="high")
    tiles = document.split(3, 2, overlap=10)
    assert [tile.size for tile in tiles] == [(55, 35)] * 2 + [(55, 40)] * 2 + [(55, 35)] * 2
    assert {tile.detail for tile in tiles} == {"high"}
    assert tiles[3].to_pil().tobytes() == whole.crop((45, 25, 100, 65)).tobytes()
    assert [tile.size for tile in document.split(1)] == [(100, 90)]
    for wrong in ({"rows": 0}, {"rows": 91}, {"rows": 1.5}, {"rows": 1, "columns": -1}, {"rows": 1, "overlap": -1}):
        with pytest.raises(errors.SettingsError, match="must be an integer from"):
            document.split(**wrong)


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_local_servers_receive_png_or_jpeg(server, kind):
    document = vn.ImageDocument(image=encoded(picture(), kind))
    with vn.LocalMultiModal("llava", api_base=server.openai_base) as local, vn.OpenAIMultiModal(api_key="k") as openai:
        assert local.outgoing(document).prepared.mimetype in ("image/png", "image/jpeg")
        assert openai.outgoing(document).prepared.mimetype == f"image/{kind.lower()}"
        local.complete("What is this?", document)


SYNC, ASYNC = "sync", "async"


async def test_requests_use_the_given_http_clients_and_leave_them_open(server):
    requests = []
    with httpx2.Client(event_hooks={"request": [lambda request: requests.append(SYNC)]}) as client:
        with vn.LocalMultiModal("llava", api_base=server.openai_base, http_client=client) as llm:
            llm.complete("What is this?", blank(30, 24))
            with pytest.raises(errors.SettingsError, match="async_http_client="):
                await llm.acomplete("What is this?", blank(30, 24))
        assert requests == [SYNC] and not client.is_closed

    async def note(request):
        requests.append(ASYNC)

    async with httpx2.AsyncClient(event_hooks={"request": [note]}) as async_client:
        options = {"api_key": "k", "api_base": server.openai_base, "async_http_client": async_client}
        async with vn.OpenAIMultiModal(**options) as openai_llm:
            await openai_llm.acomplete("What is this?", blank(30, 24))
        assert requests == [SYNC, ASYNC] and not async_client.is_closed


async def test_an_image_in_an_assistant_message_is_refused_before_sending(server):
    messages = [
        vn.ChatMessage("user", "Draw a scan."),
        vn.ChatMessage("assistant", ["Here:", blank(30, 24)]),
        vn.ChatMessage("user", "What is it?"),
    ]
    with vn.DemoMultiModal(api_base=server.openai_base) as llm:
        for ask in (llm.chat, llm.stream_chat):
            with pytest.raises(errors.SettingsError, match="assistant message cannot contain images"):
                ask(messages)
        for aask in (llm.achat, llm.astream_chat):
            with pytest.raises(errors.SettingsError, match="assistant message cannot contain images"):
                await aask(messages)
