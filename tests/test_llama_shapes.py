"""Models of several structures on the real llama.cpp, with random weights."""

from typing import Literal

import pydantic
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import EIGHT_FORMS, ask
from tests.llama_parts import engines
from tests.test_openai_provider import all_eight
from tests.tiny_models import SHAPES, write_mmproj, write_model, write_pair
from vision_nb import errors
from vision_nb.cost.image_rules import view_of

pytestmark = pytest.mark.slow


class Look(pydantic.BaseModel):
    color: Literal["red", "green", "blue"]
    is_dark: bool


@pytest.fixture(scope="module", params=SHAPES)
def llm(request, tmp_path_factory):
    pair = write_pair(tmp_path_factory.mktemp(request.param), request.param)
    with vn.serve(*pair, progress=False, n_threads=1, max_new_tokens=8, temperature=0, name=request.param) as served:
        yield served


async def test_all_eight_methods_answer(llm):
    question = vn.generate_openai_multi_modal_chat_message("What is it?", "user", [picture()])
    texts = await all_eight(llm, "What is it?", picture(), [question])
    assert len(texts) == 8 and all(texts.values())


async def test_a_schema_is_enforced_in_all_eight_methods(llm):
    for form in EIGHT_FORMS:
        response = await ask(llm, form, "What is it?", [picture()], schema=Look, max_repairs=0, max_new_tokens=200)
        assert isinstance(response.parsed, Look) and response.attempts == 1


IMAGE_TOKENS = {
    "llava": lambda width, height: 576,
    "smolvlm": lambda width, height: 64 * (4 * 3 + 1) + 30,  # tiles of 512 pixels and an overview, and their markers
    "qwen2vl": lambda width, height: round(width / 28) * round(height / 28),
}


def test_each_image_has_the_tokens_of_its_structure(llm):
    words = llm.complete("What?", max_new_tokens=1).usage.input_tokens
    width, height = 640, 480
    counted = llm.complete("What?", [picture(width, height)], max_new_tokens=1).usage.input_tokens - words
    assert abs(counted - IMAGE_TOKENS[llm.model](width, height)) <= 10


def test_a_file_is_counted_by_the_rule_of_the_engine(tmp_path):
    model, mmproj = write_pair(tmp_path, "qwen2vl")
    model = model.rename(tmp_path / "Qwen2-VL-2B-Q4_K_M.gguf")
    with vn.serve(model, mmproj, progress=False, n_threads=1, max_new_tokens=1) as llm:
        words = llm.complete("What?").usage.input_tokens
        counted = llm.complete("What?", [picture(1200, 900)]).usage.input_tokens - words
        view = view_of((1200, 900), llm.counted_model)
    assert view is not None and not view.is_estimate and abs(view.tokens - counted) <= 10
    largest = view_of((3000, 3000), llm.counted_model)
    assert largest is not None and largest.tokens == 4096  # the engine's limit


def test_the_answer_depends_on_the_image(llm):
    assert len({llm.complete("What?", [picture(seed=seed)]).text for seed in range(4)}) > 1


@pytest.mark.parametrize("text, image", [("llava", "qwen2vl"), ("qwen2vl", "llava"), ("qwen2vl", "smolvlm")])
def test_the_projector_of_another_architecture_is_rejected_before_the_engine_is_started(tmp_path, text, image):
    write_model(tmp_path / "model.gguf", text)
    write_mmproj(tmp_path / "mmproj.gguf", image)
    before = engines()
    with pytest.raises(errors.ProjectorMismatchError, match=r"mmproj\.gguf \(type .*\) was not made for model\.gguf"):
        vn.serve(tmp_path / "model.gguf", tmp_path / "mmproj.gguf")
    assert engines() == before


@pytest.mark.parametrize("shape", SHAPES)
def test_a_projector_of_another_size_is_rejected_before_the_engine_is_started(tmp_path, shape):
    write_model(tmp_path / "model.gguf", shape)
    write_mmproj(tmp_path / "mmproj.gguf", shape, embedding=96)
    with pytest.raises(errors.ProjectorMismatchError, match=r"vectors of length 96, but model\.gguf expects 64"):
        vn.serve(tmp_path / "model.gguf", tmp_path / "mmproj.gguf")
