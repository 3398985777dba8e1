"""What a request carries of an image, by provider and setting."""

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_local_servers_receive_png_or_jpeg(server, kind):
    document = vn.ImageDocument(image=encoded(picture(), kind))
    with vn.LocalMultiModal("llava", api_base=server.openai_base) as local, vn.OpenAIMultiModal(api_key="k") as openai:
        assert local.outgoing(document).mimetype in ("image/png", "image/jpeg")
        assert openai.outgoing(document).mimetype == f"image/{kind.lower()}"
        local.complete("What is this?", document)
