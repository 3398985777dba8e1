"""The code of the OpenAI and Azure walkthroughs, step by step, with only imports, keys and endpoints changed."""

import base64
import os

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb import (
    AzureOpenAIMultiModal,
    ImageDocument,
    OpenAIMultiModal,
    display_image_uris,
    generate_openai_multi_modal_chat_message,
    load_image_urls,
)
from vision_nb.compat import SimpleDirectoryReader
from vision_nb.samples import path as sample


@pytest.fixture
def image_urls(server, tmp_path):
    """Pictures behind URLs on this machine, where the demo server can fetch them as OpenAI would."""
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(picture(320, 240, seed=number), "JPEG"))
    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
    yield [f"http://127.0.0.1:{site.server_port}/{number}.jpg" for number in range(2)]
    site.shutdown()
    site.server_close()


@pytest.fixture
def openai_mm_llm(server):
    return OpenAIMultiModal(
        model="gpt-4-vision-preview", api_key="sk-", api_base=server.openai_base, max_new_tokens=300
    )


async def test_every_step_of_the_openai_walkthrough(server, openai_mm_llm, image_urls, tmp_path, capsys):
    image_documents = load_image_urls(image_urls[:1])
    assert display_image_uris(image_urls).axes

    complete_response = openai_mm_llm.complete(
        prompt="Describe the images as an alternative text",
        image_documents=image_documents,
    )
    print(complete_response)

    stream_complete_response = openai_mm_llm.stream_complete(
        prompt="give me more context for this image",
        image_documents=image_documents,
    )
    for r in stream_complete_response:
        print(r.delta, end="")

    chat_msg_1 = generate_openai_multi_modal_chat_message(
        prompt="Describe the images as an alternative text",
        role="user",
        image_documents=image_documents,
    )
    chat_msg_2 = generate_openai_multi_modal_chat_message(
        prompt="The image is a graph showing the surge in US mortgage rates.",
        role="assistant",
    )
    chat_msg_3 = generate_openai_multi_modal_chat_message(
        prompt="can I know more?",
        role="user",
    )
    chat_messages = [chat_msg_1, chat_msg_2, chat_msg_3]
    chat_response = openai_mm_llm.chat(messages=chat_messages)
    capsys.readouterr()
    for msg in chat_messages:
        print(msg.role, msg.content)
    assert capsys.readouterr().out.startswith("MessageRole.USER")
    print(chat_response)
    assert capsys.readouterr().out.startswith("assistant: ")
    sent = server.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"][1] == {"type": "image_url", "image_url": {"url": image_urls[0]}}

    stream_chat_response = openai_mm_llm.stream_chat(messages=chat_messages)
    for r in stream_chat_response:
        print(r.delta, end="")

    response_acomplete = await openai_mm_llm.acomplete(
        prompt="Describe the images as an alternative text",
        image_documents=image_documents,
    )
    print(response_acomplete)

    response_astream_complete = await openai_mm_llm.astream_complete(
        prompt="Describe the images as an alternative text",
        image_documents=image_documents,
    )
    async for delta in response_astream_complete:
        print(delta.delta, end="")

    achat_response = await openai_mm_llm.achat(messages=chat_messages)
    print(achat_response)

    astream_chat_response = await openai_mm_llm.astream_chat(messages=chat_messages)
    async for delta in astream_chat_response:
        print(delta.delta, end="")

    image_documents_1 = load_image_urls(image_urls)
    response_multi = openai_mm_llm.complete(
        prompt="is there any relationship between those images?",
        image_documents=image_documents_1,
    )
    print(response_multi)
    assert len(server.requests[-1].body["messages"][0]["content"]) == 3

    image_documents = SimpleDirectoryReader(str(tmp_path)).load_data()
    response = openai_mm_llm.complete(
        prompt="Describe the images as an alternative text",
        image_documents=image_documents,
    )
    assert len(str(response)) > 40
    assert server.requests[-1].body["max_tokens"] == 300
    assert len(server.requests) == 10


@pytest.mark.parametrize("given", ["environment", "arguments"])
def test_every_step_of_the_azure_walkthrough(server, monkeypatch, given):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "<your-api-key>")
    if given == "environment":
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url + "/")
        monkeypatch.setenv("OPENAI_API_VERSION", "2023-12-01-preview")
        azure_openai_mm_llm = AzureOpenAIMultiModal(
            engine="gpt-4-vision-preview",
            api_version="2023-12-01-preview",
            model="gpt-4-vision-preview",
            max_new_tokens=300,
        )
    else:
        azure_openai_mm_llm = AzureOpenAIMultiModal(
            azure_endpoint=server.url,
            engine="gpt-4-vision-preview",
            api_version="2023-12-01-preview",
            model="gpt-4-vision-preview",
            max_new_tokens=300,
        )
    content = encoded(picture(640, 480), "JPEG")
    base64str = base64.b64encode(content).decode("utf-8")
    image_document = ImageDocument(image=base64str, image_mimetype="image/jpeg")
    assert image_document.image == base64str
    complete_response = azure_openai_mm_llm.complete(
        prompt="Describe the images as an alternative text",
        image_documents=[image_document],
    )
    assert len(str(complete_response)) > 40
    request = server.requests[-1]
    assert request.path.startswith("/openai/deployments/gpt-4-vision-preview/")
    assert request.query["api-version"] == "2023-12-01-preview"
    assert os.environ["AZURE_OPENAI_API_KEY"] == request.headers["api-key"]


def test_the_vision_guides_questions(server):
    """URL, base64, several pictures, and detail: the request's form is the guide's own."""
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_new_tokens=300)
    question = "What are in these images? Is there any difference between them?"
    llm.complete(question, [sample("chart"), sample("chart")], image_detail="high")
    body = server.requests[-1].body
    assert body["max_tokens"] == 300
    parts = body["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": question}
    assert [part["image_url"]["detail"] for part in parts[1:]] == ["high", "high"]
    assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,")
