"""The code of the Replicate walkthrough, with only imports, token, base URL and images changed."""

import os
import re
import warnings
from io import BytesIO

import pytest

from tests.conftest import encoded, picture
from vision_nb import (
    REPLICATE_MULTI_MODAL_LLM_MODELS,
    ImageDocument,
    ReplicateMultiModal,
    display_image_uris,
    load_image_urls,
)
from vision_nb.demo.replicate.catalog import MODELS as PUBLISHED


@pytest.fixture
def walkthrough(server, monkeypatch, tmp_path):
    """A demo server in place of Replicate that accepts only the reader's token."""
    monkeypatch.setenv("REPLICATE_BASE_URL", server.replicate_base)
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_of_the_reader")
    monkeypatch.chdir(tmp_path)
    server.require_key = "r8_of_the_reader"
    return server


def fuyu():
    return ReplicateMultiModal(
        model=REPLICATE_MULTI_MODAL_LLM_MODELS["fuyu-8b"],
        max_new_tokens=100,
        temperature=0.1,
        num_input_files=1,
        top_p=0.9,
        num_beams=1,
        repetition_penalty=1,
    )


def local_images():
    from PIL import Image

    if not os.path.exists("test_images"):  # noqa: PTH110 - the walkthrough's own lines
        os.makedirs("test_images")  # noqa: PTH103
    for idx in range(3):
        img = Image.open(BytesIO(encoded(picture(320, 240, seed=idx), "JPEG")))
        img.save(f"test_images/{idx}.png")
    return [ImageDocument(image_path=f"test_images/{idx}.png") for idx in range(3)]


@pytest.mark.slow
def test_every_model_answers_every_prompt_about_every_image(walkthrough):
    image_documents = local_images()
    image_paths = [str(img_doc.image_path) for img_doc in image_documents]
    assert display_image_uris(image_paths).axes
    prompts = [
        "what is shown in this image?",
        "how many people are shown in the image?",
        "is there anything unusual in the image?",
    ]
    res, failures = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for prompt in prompts:
            for image_doc in image_documents:
                for llm_model in REPLICATE_MULTI_MODAL_LLM_MODELS:
                    try:
                        ## Initialize the MultiModal LLM model
                        multi_modal_llm = ReplicateMultiModal(
                            model=REPLICATE_MULTI_MODAL_LLM_MODELS[llm_model],
                            max_new_tokens=100,
                            temperature=0.1,
                            num_input_files=1,
                            top_p=0.9,
                            num_beams=1,
                            repetition_penalty=1,
                        )
                        mm_resp = multi_modal_llm.complete(
                            prompt=prompt,
                            image_documents=[image_doc],
                        )
                    except Exception as e:
                        failures.append(e)
                        continue
                    res.append(
                        {
                            "model": llm_model,
                            "prompt": prompt,
                            "response": mm_resp,
                            "image": str(image_doc.image_path),
                        }
                    )
    assert failures == []
    assert len(res) == 27 and [row["model"] for row in res[:3]] == ["llava-13b", "fuyu-8b", "minigpt-4"]
    assert all("320 x 240" in str(row["response"]) for row in res)
    ignored = {tuple(sorted(re.findall(r"\w+_\w+|temperature", str(one.message)))) for one in caught}
    assert ignored == {("num_beams", "repetition_penalty"), ("num_beams", "repetition_penalty", "temperature", "top_p")}
    creations = [one.body for one in walkthrough.requests if one.method == "POST"]
    limits = {
        body["version"]: {name: value for name, value in body["input"].items() if "tokens" in name}
        for body in creations
    }
    assert limits == {
        PUBLISHED["yorickvp/llava-13b"].version: {"max_tokens": 100},
        PUBLISHED["lucataco/fuyu-8b"].version: {"max_new_tokens": 100},
        PUBLISHED["daanelson/minigpt-4"].version: {"max_new_tokens": 100},
    }

    pd = pytest.importorskip("pandas")
    df = pd.DataFrame(res)
    assert list(df.columns) == ["model", "prompt", "response", "image"]
    assert "320 x 240" in df[:5].to_html()


@pytest.mark.filterwarnings("ignore:replicate")
async def test_fuyu_answers_and_streams_sync_and_async(walkthrough, capsys):
    image_documents = local_images()
    multi_modal_llm = fuyu()

    resp = await multi_modal_llm.astream_complete(
        prompt="tell me about this image",
        image_documents=[image_documents[0]],
    )
    async for delta in resp:
        print(delta.delta, end="")
    streamed = capsys.readouterr().out

    resp = await multi_modal_llm.acomplete(
        prompt="tell me about this image",
        image_documents=[image_documents[0]],
    )
    print(resp)
    whole = capsys.readouterr().out

    resp = multi_modal_llm.stream_complete(
        prompt="tell me about this image",
        image_documents=[image_documents[0]],
    )
    for delta in resp:
        print(delta.delta, end="")
    assert "320 x 240" in streamed
    assert capsys.readouterr().out == streamed == whole.removesuffix("\n")


def test_images_at_urls_are_sent_as_urls(walkthrough):
    import httpx

    upload = httpx.post(
        f"{walkthrough.url}/v1/files",
        files={"content": ("0.jpg", encoded(picture(320, 240), "JPEG"), "image/jpeg")},
        headers={"Authorization": "Bearer r8_of_the_reader"},
    )
    url = f"{upload.json()['urls']['get']}/download"
    image_documents = load_image_urls([url])
    response = ReplicateMultiModal(model="llava-13b").complete("what size is this image?", [image_documents[0]])
    assert "320 x 240" in str(response)
    assert [one.body["input"]["image"] for one in walkthrough.requests if one.path == "/v1/predictions"] == [url]
