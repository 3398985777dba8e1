"""Images that are uploaded once: what is uploaded, how requests refer to it, and when it is deleted."""

import asyncio
import io
import subprocess
import sys

import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import EIGHT_FORMS, ask
from vision_nb import errors
from vision_nb.demo import Fault, sample_url
from vision_nb.images.uploaded import UploadedImage
from vision_nb.magics.preview import _facts
from vision_nb.providers.openai.uploads import LIFETIME


@pytest.fixture
def llm(server):
    with make(server) as model:
        yield model


def make(server, model="gpt-4o", **options):
    return vn.OpenAIMultiModal(model, options.pop("key", "k"), server.openai_base, max_retries=0, **options)


def asked(server):
    """Return the method and the last part of the path of each request."""
    return [f"{request.method} {request.path.split('/v1/')[1].split('/file-')[0]}" for request in server.requests]


def sent_image(server):
    (image,) = (part for part in server.requests[-1].body["input"][0]["content"] if part["type"] == "input_image")
    return image


def files(llm):
    return {file.id: file for file in llm.client.files.list()}


def test_an_image_is_uploaded_as_it_would_be_sent_and_only_once(server, llm, tmp_path):
    exif = picture().getexif()
    exif[0x010F] = "SecretCamera"
    path = tmp_path / "private name.jpg"
    path.write_bytes(encoded(picture(3000, 2000), "JPEG", exif=exif))
    uploaded = vn.ImageDocument.of(path).upload(llm)
    assert isinstance(uploaded, UploadedImage) and uploaded.size == (3000, 2000)
    assert llm.upload(path).file_id == uploaded.file_id
    for missing, error in ((tmp_path / "no.jpg", vn.errors.ImageNotFoundError), (tmp_path, vn.errors.ImageError)):
        with pytest.raises(error, match=missing.name):
            llm.upload(missing)
    assert uploaded.upload(llm).file_id == vn.ImageDocument.of(path.read_bytes()).upload(llm).file_id
    (file,) = files(llm).values()
    assert (file.id, file.purpose) == (uploaded.file_id, "vision")
    assert file.expires_at == file.created_at + LIFETIME
    assert "private" not in file.filename and file.filename.endswith(".jpeg")
    content = llm.client.files.content(file.id).read()
    assert Image.open(io.BytesIO(content)).size == (1152, 768) and b"SecretCamera" not in content


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_all_eight_methods_refer_to_the_file_and_count_its_tokens(server, llm, form):
    document = vn.ImageDocument.of(picture(900, 700))
    uploaded = await document.aupload(llm) if form.startswith("a") else document.upload(llm)
    response = await ask(llm, form, "Which?", [uploaded])
    assert sent_image(server) == {"type": "input_image", "file_id": uploaded.file_id}
    whole = llm.complete("Which?", document)
    assert "messages" in server.requests[-1].body  # the Responses API was chosen for the uploaded image only
    assert response.usage == whole.usage and not response.usage_is_implausible
    assert llm._prepare_image(uploaded, {}).tokens == llm._prepare_image(document, {}).tokens


def test_a_response_notes_how_an_uploaded_image_was_changed(server, llm):
    uploaded = vn.ImageDocument.of(picture(3000, 2000)).upload(llm)
    assert "scaled from 3000 x 2000" in llm.complete("Which?", uploaded).image_notes[0]


def test_a_conversation_sends_the_file_in_each_turn(server, llm):
    chat = vn.Chat(llm)
    chat.ask("Which?", [vn.ImageDocument.of(picture()).upload(llm)])
    chat.ask("And now?")
    assert str(server.requests[-1].body).count("file_id") == 1 and "data:image" not in str(server.requests[-1].body)


def test_a_comparison_uploads_nothing_again_and_shares_stored_answers_with_the_image_itself(server, llm, tmp_path):
    document, store = vn.ImageDocument.of(picture()), tmp_path / "answers.sqlite3"
    uploaded = document.upload(llm)
    first = vn.compare(llm, ["a?", "b?", "c?"], [uploaded], store=store, progress=False)
    assert all(row.finished for row in first)
    assert asked(server) == ["POST files", *["POST responses"] * 3]
    again = vn.compare(llm, ["a?", "b?", "c?"], [document], store=store, progress=False)
    assert [row.response for row in again] == [row.response for row in first] and len(server.requests) == 4


def test_other_models_of_the_account_use_the_file_and_models_of_other_accounts_get_the_image(server, llm):
    uploaded = vn.ImageDocument.of(picture()).upload(llm)
    make(server, "gpt-4o-mini").complete("Which?", uploaded)
    assert sent_image(server)["file_id"] == uploaded.file_id
    make(server, key="another").complete("Which?", uploaded)
    assert "data:image" in str(server.requests[-1].body["messages"])
    vn.LocalMultiModal("llava", server.openai_base).complete("Which?", uploaded)
    assert "data:image" in str(server.requests[-1].body["messages"])


def test_the_image_itself_is_sent_if_the_file_has_too_few_pixels_or_is_out_of_date(server, llm, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(picture(1600, 1200)))
    low = vn.ImageDocument.of(path, detail="low").upload(llm)
    llm.complete("Which?", low)
    assert sent_image(server)["file_id"] == low.file_id
    llm.complete("Which?", low.with_detail("high"))
    assert "data:image" in str(server.requests[-1].body["messages"])
    high = vn.ImageDocument.of(path).upload(llm)
    llm.complete("Which?", high, image_detail="low")
    assert sent_image(server) == {"type": "input_image", "file_id": high.file_id, "detail": "low"}
    path.write_bytes(encoded(picture(1600, 1200, seed=1)))
    llm.complete("Which?", high)
    assert "data:image" in str(server.requests[-1].body["messages"])


def test_a_remote_image_is_downloaded_and_uploaded(server, llm, monkeypatch):
    monkeypatch.setenv("VISION_NB_ALLOW_PRIVATE_URLS", "1")
    uploaded = vn.ImageDocument(image_url=sample_url(server, "chart")).upload(llm)
    assert llm.complete("Which?", uploaded).text and sent_image(server)["file_id"] == uploaded.file_id


async def test_closing_the_model_deletes_its_files(server):
    with make(server) as llm:
        first, second = (vn.ImageDocument.of(picture(seed=seed)).upload(llm) for seed in (1, 2))
        assert len(files(llm)) == 2
    assert asked(server)[-2:] == ["DELETE files"] * 2 and not files(make(server))
    with pytest.raises(errors.UploadNotFoundError, match="upload the image again"):
        llm.complete("Which?", first)
    async with make(server) as other:
        await vn.ImageDocument.of(picture()).aupload(other)
        assert len(files(make(server))) == 1
    assert not files(make(server)) and second.file.is_deleted


async def test_a_file_can_be_deleted_by_hand(server, llm):
    one, two = vn.ImageDocument.of(picture()).upload(llm), vn.ImageDocument.of(picture(seed=1)).upload(llm)
    one.delete()
    await two.adelete()
    one.delete()
    assert not files(llm) and asked(server).count("DELETE files") == 2
    again = one.upload(llm)
    assert list(files(llm)) == [again.file_id] != [one.file_id]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_file_that_is_gone_from_the_server_is_its_own_error_and_can_be_uploaded_again(server, llm, form):
    uploaded = vn.ImageDocument.of(picture()).upload(llm)
    make(server).client.files.delete(uploaded.file_id)  # as when it expires
    with pytest.raises(errors.UploadNotFoundError, match=r"not found.*Upload the image again"):
        await ask(llm, form, "Which?", [uploaded])
    again = await uploaded.aupload(llm) if form.startswith("a") else uploaded.upload(llm)
    assert again.file_id != uploaded.file_id and (await ask(llm, form, "Which?", [again])).text
    llm.close()  # the first file is not there, which is not worth a warning


async def test_a_failing_deletion_is_reported_and_tried_again(server):
    llm = make(server)
    uploaded = vn.ImageDocument.of(picture()).upload(llm)
    server.fail(Fault(status=500), times=3)
    with pytest.raises(errors.ServerError):
        uploaded.delete()
    with pytest.warns(UserWarning, match="could not be deleted: the service deletes them by"):
        llm.close()
    with pytest.warns(UserWarning, match="1 uploaded image could not be deleted"):
        await llm.aclose()
    assert len(files(llm)) == 1
    llm.close()
    assert not files(llm)


async def test_a_service_that_takes_no_uploads_says_so(server):
    document = vn.ImageDocument.of(picture())
    azure = vn.AzureOpenAIMultiModal("eyes", "gpt-4o", server.url, "2024-10-21", "k")
    models = {
        "uploads": vn.ReplicateMultiModal("llava-13b", api_token="r8_t", api_base=server.replicate_base),
        "Responses API": vn.LocalMultiModal("llava", server.openai_base),
        "/openai/v1/": azure,
        'api="chat"': make(server, api="chat"),
    }
    for words, model in models.items():
        with pytest.raises(errors.SettingsError, match=words):
            document.upload(model)
        with pytest.raises(errors.SettingsError, match=words):
            await document.aupload(model)
    with pytest.raises(errors.SettingsError, match="model object"):
        document.upload("gpt-4o")  # type: ignore[arg-type]
    assert not server.requests
    server.fail(Fault(status=404, body={"detail": "Not Found"}), times=2)
    with pytest.raises(errors.SettingsError, match="does not take uploads"):
        document.upload(make(server))
    with pytest.raises(errors.SettingsError, match="does not take uploads"):
        await document.aupload(make(server))


async def test_a_server_without_lifetimes_of_files_still_gets_the_upload(server):
    refusal = {"error": {"message": "Unknown parameter: 'expires_after'.", "param": "expires_after"}}
    for upload in ("upload", "aupload"):
        server.fail(Fault(status=400, body=refusal))
        with make(server) as llm:
            done = getattr(vn.ImageDocument.of(picture()), upload)(llm)
            uploaded = await done if upload == "aupload" else done
            assert files(llm)[uploaded.file_id].expires_at is None and uploaded.file.expires is None


@pytest.mark.parametrize("body", [{"object": "file"}, {"id": 5}, {"id": ""}, [1]])
async def test_an_upload_without_an_id_is_a_malformed_response(server, llm, body):
    document = vn.ImageDocument.of(picture())
    server.fail(Fault(body=body), times=2)
    with pytest.raises(errors.MalformedResponseError, match="ID"):
        document.upload(llm)
    with pytest.raises(errors.MalformedResponseError, match="ID"):
        await document.aupload(llm)


async def test_azures_v1_endpoint_takes_uploads(server):
    endpoint = f"{server.url}/openai/v1/"
    async with vn.AzureOpenAIMultiModal("eyes", "gpt-4o", endpoint, api_key="k") as llm:
        uploaded = await vn.ImageDocument.of(picture()).aupload(llm)
        assert (await llm.acomplete("Which?", uploaded)).text and sent_image(server)["file_id"] == uploaded.file_id


EXIT = """
import sys
import vision_nb as vn
llm = vn.OpenAIMultiModal("gpt-4o", "k", sys.argv[1])
print(vn.ImageDocument.of(vn.samples.path("chart")).upload(llm).file_id)
del llm
"""


@pytest.mark.slow
def test_files_are_deleted_when_python_exits(server):
    run = subprocess.run([sys.executable, "-c", EXIT, server.openai_base], capture_output=True, text=True)
    assert run.stdout.startswith("file-") and run.stderr == ""
    assert asked(server) == ["POST files", "DELETE files"]


def test_a_copy_of_a_model_does_not_delete_the_originals_files(server, llm):
    import copy

    uploaded = vn.ImageDocument.of(picture()).upload(llm)
    copy.copy(llm).close()
    assert list(files(llm)) == [uploaded.file_id]
    assert asyncio.run(copy.copy(llm).acomplete("Which?", uploaded)).text


def test_the_preview_of_a_cell_says_that_only_the_files_id_is_sent(llm):
    uploaded = vn.ImageDocument.of(vn.samples.path("chart")).upload(llm)
    assert _facts(uploaded, llm.outgoing(uploaded).prepared) == "sent as the ID of the uploaded file"
