"""Token rules: the sources' worked examples, and properties that hold for any size."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nb import errors, image_tokens
from vision_nb.cost.image_rules import row_for, rule_for, sent_size, view_of
from vision_nb.cost.image_tokens import image_tokens_array
from vision_nb.cost.model_names import match_prefix
from vision_nb.cost.model_reference import counted_model
from vision_nb.cost.rule_kinds import MAX_PATCHES, Patches, RoundedPatches, StretchedTiles
from vision_nb.cost.rule_table import RULES
from vision_nb.cost.text_tokens import context_length

WORKED = [
    ("gpt-4o", "high", (1024, 1024), 765),
    ("gpt-4o", "high", (2048, 4096), 1105),
    ("gpt-4o", "low", (4096, 8192), 85),
    ("gpt-4o", "high", (512, 1024), 425),
    ("gpt-4o-mini", "high", (2048, 4096), 36_835),
    ("gpt-6-astra", "high", (1024, 1024), 1229),
    ("gpt-6-astra", "high", (2048, 2048), 3000),
    ("gpt-6-astra", "high", (4096, 512), 2458),
    ("gpt-6-astra", "original", (4032, 3024), 14_364),
    ("gpt-5.4", "high", (1800, 2400), 2942),
    ("gpt-5.4", "low", (1800, 2400), 3687),
    ("gpt-5.4", "original", (1800, 2400), 5130),
    ("o4-mini", "high", (1800, 2400), 2498),
    ("llava", "auto", (1800, 2400), 576),
]
# Sizes and counts that others published: Anthropic's Vision guide, as quoted in 2026; counts of Qwen3.8-27B by seven
# services and by Ollama, without the two tokens around an image (a third party's measurements, 2026-08-25); facts of
# Google's guides. The size as seen is None where it was not published.
PUBLISHED = [
    ("claude-haiku-4-5", (1920, 1080), 1560, (1456, 819)),
    ("claude-haiku-4-5", (2184, 2184), 1521, (1092, 1092)),
    ("claude-haiku-4-5", (951, 1268), 1564, (951, 1268)),
    ("claude-haiku-4-5", (2688, 4032), 1536, (896, 1344)),
    ("claude-haiku-4-5", (1568, 3136), 1568, (784, 1568)),
    ("claude-opus-4-8", (1280, 800), 1334, (1280, 800)),
    ("claude-opus-4-8", (1920, 1080), 2691, (1920, 1080)),
    ("claude-opus-4-8", (3840, 2160), 4784, (2576, 1449)),
    ("claude-opus-4-8", (3024, 1964), 4760, (2380, 1546)),
    ("claude-opus-4-8", (4032, 3024), 4740, (2212, 1659)),
    ("qwen/qwen3.8-27b", (64, 64), 64, (256, 256)),
    ("qwen/qwen3.8-27b", (425, 550), 221, None),
    ("qwen/qwen3.8-27b", (850, 1100), 918, None),
    ("qwen/qwen3.8-27b", (1275, 1650), 2080, None),
    ("qwen/qwen3.8-27b", (2550, 3300), 8240, None),
    ("qwen/qwen3.8-27b", (5100, 6600), 16_240, None),
    ("qwen3.8:27b", (425, 550), 221, None),
    ("qwen3.8:27b", (850, 1100), 918, None),
    ("qwen3.8:27b", (1275, 1650), 2080, None),
    ("qwen3.8:27b", (2550, 3300), 4032, None),
    ("qwen3.8:27b", (2778, 3748), 4070, None),
    ("gemini-2.5-flash", (384, 384), 258, (384, 384)),
    ("gemini-2.5-flash", (1500, 700), 516, (1500, 700)),
    ("gemma-3-4b-it", (1000, 700), 256, None),
]
# Computed with the processors' own code: ImageEncoder of mistral-common 1.13.1, and smart_resize and the image
# processor of SmolVLM in transformers 5.24.0; for Llama 4, its get_best_fit with fractions instead of floats.
PROCESSORS = [
    ("meta-llama/llama-4-scout", (336, 336), 144),
    ("meta-llama/llama-4-scout", (337, 336), 432),
    ("meta-llama/llama-4-scout", (672, 672), 720),
    ("meta-llama/llama-4-scout", (1024, 768), 1872),
    ("meta-llama/llama-4-scout", (4032, 3024), 1872),
    ("meta-llama/llama-4-scout", (3000, 400), 2448),
    ("meta-llama/llama-4-scout", (100, 80), 144),
    ("pixtral-12b-2409", (100, 100), 56),
    ("pixtral-12b-2409", (640, 480), 1230),
    ("pixtral-12b-2409", (1000, 1500), 2816),
    ("pixtral-12b-2409", (1024, 1024), 4160),
    ("pixtral-12b-2409", (4032, 3024), 3120),
    ("pixtral-12b-2409", (3000, 500), 715),
    ("pixtral-12b-2409", (7, 900), 114),
    ("mistral-small-2506", (100, 100), 20),
    ("mistral-small-2506", (640, 480), 432),
    ("mistral-small-2506", (1000, 1500), 1998),
    ("mistral-small-2506", (1024, 1024), 1406),
    ("mistral-small-2506", (4032, 3024), 2352),
    ("mistral-small-2506", (3000, 500), 560),
    ("mistral-small-2506", (7, 900), 66),
    ("qwen/qwen2.5-vl-72b-instruct", (100, 100), 16),
    ("qwen/qwen2.5-vl-72b-instruct", (640, 480), 391),
    ("qwen/qwen2.5-vl-72b-instruct", (1000, 1500), 1944),
    ("qwen/qwen2.5-vl-72b-instruct", (1024, 1024), 1369),
    ("qwen/qwen2.5-vl-72b-instruct", (4032, 3024), 15552),
    ("qwen/qwen2.5-vl-72b-instruct", (3000, 500), 1926),
    ("qwen/qwen2.5-vl-72b-instruct", (7, 900), 23),
    ("qwen/qwen3-vl-235b-a22b-instruct", (100, 100), 64),
    ("qwen/qwen3-vl-235b-a22b-instruct", (640, 480), 300),
    ("qwen/qwen3-vl-235b-a22b-instruct", (1000, 1500), 1457),
    ("qwen/qwen3-vl-235b-a22b-instruct", (1024, 1024), 1024),
    ("qwen/qwen3-vl-235b-a22b-instruct", (4032, 3024), 11844),
    ("qwen/qwen3-vl-235b-a22b-instruct", (3000, 500), 1504),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (100, 100), 1088),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (640, 480), 832),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (1000, 1500), 832),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (1024, 1024), 1088),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (4032, 3024), 832),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (3000, 500), 320),
    ("SmolVLM-500M-Instruct-Q8_0.gguf", (7, 900), 320),
    ("SmolVLM-Instruct", (100, 100), 1377),
    ("SmolVLM-Instruct", (640, 480), 1053),
    ("SmolVLM-Instruct", (1000, 1500), 1053),
    ("SmolVLM-Instruct", (1024, 1024), 1377),
    ("SmolVLM-Instruct", (4032, 3024), 1053),
    ("SmolVLM-Instruct", (3000, 500), 405),
    ("SmolVLM-Instruct", (7, 900), 405),
]
# Counts by llama.cpp's own server (xllamacpp 2026.10.11549) for models of the same structure with random weights, as
# prompt_tokens with the image minus those without. The last number is what the marks around and between the parts add,
# which depends on the vocabulary; None for SmolVLM, which has 2 marks for a tile, 1 for a row and 3 for an image.
ENGINE_SIZES = [
    (512, 512), (100, 100), (1024, 1024), (1600, 800), (800, 2000), (640, 480), (2048, 300), (3000, 2000), (90, 60),
    (20, 20),
]  # fmt: skip
ENGINE = [
    ("qwen2.5-vl-3b", [326, 18, 1371, 1655, 2061, 393, 805, 4058, 14, 11], 2),
    ("pixtral-12b-Q4_K_M.gguf", [1065, 51, 1065, 1021, 1059, 1008, 1017, 1049, 37, 21], 9),
    ("Mistral-Small-3.2-24B-Q4_K_M.gguf", [351, 29, 1065, 1021, 1059, 417, 823, 1049, 24, 21], 9),
    ("gemma-3-4b-it-Q4_K_M.gguf", [288] * 10, 32),
    ("smolvlm-256m", [1127, 1127, 1127, 597, 599, 862, 332, 862], None),
    ("SmolVLM-Instruct-Q8_0.gguf", [1416, 1416, 1416, 750, 752, 1083, 417, 1083], None),
]
LIMITS = {
    "Claude, high resolution": 4784,
    "Claude, standard": 1568,
    "Gemini 2": 16 * 258,
    "Gemini 3": 1101,
    "Qwen3-VL, llama.cpp": 4096,
    "Qwen3-VL": 16_384,
    "Qwen2.5-VL, llama.cpp": 4096,
    "Qwen2.5-VL, Ollama": 4096,
    "Qwen2.5-VL": 16_384,
    "Pixtral, llama.cpp": 2 * 1024,
    "Mistral, llama.cpp": 2 * 1024,
    "Pixtral": 65 * 64,
    "Mistral Small 3.1 and 3.2": 56 * 55,
    "Mistral, other models": 56 * 55,
    "SmolVLM 256M and 500M": 17 * 64,
    "SmolVLM 2.2B": 17 * 81,
    "Gemma 3": 256,
    "Llama 4": 17 * 144,
    "Grok": 1792,
    "LLaVA 1.5": 576,
}
SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
EXAMPLES = {  # a model of each group of the table
    "Claude, high resolution": "claude-opus-4-7",
    "Claude, standard": "claude-haiku-4-5",
    "Gemini 2": "gemini-2.5-flash",
    "Gemini 3": "gemini-3-pro",
    "Qwen3-VL, llama.cpp": "Qwen3-VL-4B-Instruct-Q8_0.gguf",
    "Qwen3-VL": "qwen/qwen3-vl-235b-a22b-instruct",
    "Qwen2.5-VL, llama.cpp": "Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf",
    "Qwen2.5-VL, Ollama": "qwen2.5vl:7b",
    "Qwen2.5-VL": "qwen/qwen2.5-vl-72b-instruct",
    "Pixtral, llama.cpp": "pixtral-12b-Q4_K_M.gguf",
    "Mistral, llama.cpp": "Mistral-Small-3.1-24B-Instruct-2503-Q4_K_M.gguf",
    "Pixtral": "pixtral-12b-2409",
    "Mistral Small 3.1 and 3.2": "mistral-small-2506",
    "Mistral, other models": "mistral-medium-latest",
    "SmolVLM 256M and 500M": "SmolVLM-500M-Instruct-Q8_0.gguf",
    "SmolVLM 2.2B": "SmolVLM-Instruct",
    "Gemma 3": "gemma-3-27b-it",
    "Llama 4": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Grok": "grok-4",
    "LLaVA 1.5": "llava",
}
KNOWN = sorted(EXAMPLES.get(name, name) for name in RULES)
OPENAI = sorted(set(KNOWN) - set(EXAMPLES.values()))


@pytest.mark.parametrize("model, detail, size, tokens", WORKED)
def test_worked_examples_of_the_sources(model, detail, size, tokens):
    assert image_tokens(size, model, detail).tokens == tokens


def test_seen_sizes_in_the_guide():
    assert view_of((2048, 2048), "gpt-6-astra", "high").size == (1600, 1600)
    assert view_of((1800, 2400), "o4-mini", "high").size == (1056, 1408)
    assert view_of((1800, 2400), "o4-mini", "high").grid == (33, 44)


@pytest.mark.parametrize("model, size, tokens, seen", PUBLISHED)
def test_published_counts_of_other_vendors(model, size, tokens, seen):
    counted = image_tokens(size, model)
    assert counted.tokens == tokens
    assert seen is None or counted.seen_size == seen


@pytest.mark.parametrize("model, size, tokens", PROCESSORS)
def test_counts_of_the_models_own_processors(model, size, tokens):
    assert image_tokens(size, model).tokens == tokens


@pytest.mark.parametrize("model, counts, marks", ENGINE)
def test_counts_of_the_real_engine(model, counts, marks):
    for size, count in zip(ENGINE_SIZES, counts, strict=False):
        view = view_of(size, model)
        (columns, rows), added = view.grid, marks
        if added is None:
            added = 2 * columns * rows + rows + 3
        assert count == view.tokens + added, size


@settings(max_examples=400, deadline=None)
@given(SIZES, st.sampled_from(KNOWN), st.sampled_from(["auto", "low", "high", "original"]))
def test_an_image_is_never_sent_larger_and_counts_the_same_as_it_is_sent(size, model, detail):
    rule = rule_for(model)
    if detail not in rule.details:
        return
    try:
        tokens = rule.view(size, detail).tokens
    except errors.ImageTooLargeError:
        return
    sent = sent_size(size, model, detail)
    assert 1 <= sent[0] <= size[0] and 1 <= sent[1] <= size[1]
    assert view_of(sent, model, detail).tokens == tokens > 0


@settings(max_examples=300, deadline=None)
@given(SIZES, st.sampled_from(sorted(EXAMPLES.values())))
def test_counts_stay_below_the_rules_limit(size, model):
    assert view_of(size, model).tokens <= LIMITS[row_for(model).name]


@settings(max_examples=200, deadline=None)
@given(SIZES, st.sampled_from(sorted(EXAMPLES.values())), st.integers(1, 75), st.integers(1, 75))
def test_a_smaller_image_of_the_same_shape_does_not_cost_more_until_it_is_scaled(size, model, one, other):
    row, shape = row_for(model), (max(1, size[0] % 40), max(1, size[1] % 40))
    sizes = [(shape[0] * times, shape[1] * times) for times in sorted((one, other))]  # the shape is just the same
    is_scaled = any(sent_size(one, model) != one for one in sizes)
    is_enlarged = isinstance(row.rule, (StretchedTiles, RoundedPatches)) and min(map(min, sizes)) < 300
    if is_scaled or is_enlarged:
        return
    smaller, larger = (view_of(one, model).tokens for one in sizes)
    assert smaller <= larger


@settings(max_examples=400, deadline=None)
@given(SIZES, st.sampled_from(OPENAI), st.sampled_from(["auto", "low", "high", "original"]))
def test_any_size_is_scaled_into_its_budget_and_never_enlarged(size, model, detail):
    rule = rule_for(model)
    if detail not in rule.details:
        return
    try:
        view = rule.view(size, detail)
    except errors.ImageTooLargeError:
        assert isinstance(rule, Patches) and rule.levels[detail].budget is None
        assert -(-size[0] // 32) * -(-size[1] // 32) > MAX_PATCHES
        return
    assert 1 <= view.size[0] <= size[0] and 1 <= view.size[1] <= size[1]
    assert view.tokens > 0
    if isinstance(rule, Patches) and rule.levels[detail].budget is not None:
        assert view.grid[0] * view.grid[1] <= rule.levels[detail].budget
    assert rule.view(view.size, detail).tokens == view.tokens
    assert rule.view(view.size, detail).size == view.size


@settings(max_examples=200, deadline=None)
@given(
    st.lists(SIZES, min_size=1, max_size=30),
    st.sampled_from(KNOWN),
    st.sampled_from(["auto", "low", "high", "original"]),
)
def test_arrays_count_the_same_as_single_sizes(sizes, model, detail):
    if detail not in rule_for(model).details:
        return
    widths, heights = np.array(sizes).T
    try:
        expected = [view_of(size, model, detail).tokens for size in sizes]
    except errors.ImageTooLargeError:
        with pytest.raises(errors.ImageTooLargeError):
            image_tokens_array(widths, heights, model, detail)
        return
    assert image_tokens_array(widths, heights, model, detail).tolist() == expected


@pytest.mark.parametrize("model", ["gpt-6-astra", "gpt-5.4", "o4-mini"])
def test_arrays_count_the_same_as_single_sizes_for_exact_shapes(model):
    # Squares and simple ratios give whole numbers of patches, where rounding could differ.
    sizes = [(one * side, other * side) for side in range(1, 700, 7) for one in range(1, 6) for other in range(1, 6)]
    widths, heights = np.array(sizes).T
    expected = [view_of(size, model, "high").tokens for size in sizes]
    assert image_tokens_array(widths, heights, model, "high").tolist() == expected


@pytest.mark.parametrize("side", [1600, 1871, 2045, 5523, 11_621])
def test_a_large_square_fills_the_patch_budget_at_any_size(side):
    assert view_of((side, side), "gpt-6-astra", "high").grid == (50, 50)


def test_array_arguments_are_checked():
    assert image_tokens_array([1], [1], "unknown") is None
    assert image_tokens_array([], [], "gpt-4o").tolist() == []
    assert image_tokens_array([[1, 2]], [[3, 4]], "gpt-5.4").shape == (1, 2)
    assert image_tokens_array([[1, 2]], [[3, 4]], "llava").tolist() == [[576, 576]]
    with pytest.raises(errors.SettingsError, match="shape"):
        image_tokens_array([1, 2], [1], "gpt-4o")
    for widths in ([0], [1.5], [float("nan")], [None], ["wide"], [10**30], np.array([np.nan])):
        with pytest.raises(errors.SettingsError, match="widths must be integers of at least 1"):
            image_tokens_array(widths, [1], "gpt-4o")


def test_counting_a_size_does_not_import_numpy():
    code = "import sys, vision_nb as vn\nvn.image_tokens((800, 600), 'gpt-5.4')\nassert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (20_000, 20_000), (65_535, 1), (65_535, 33)])
@pytest.mark.parametrize("model", KNOWN)
def test_extreme_sizes_have_a_count(size, model):
    for detail in ("low", "high"):
        assert view_of(size, model, detail).tokens > 0


def test_snapshots_and_fine_tunes_use_the_longest_matching_row():
    assert row_for("gpt-4o-2024-08-06") is RULES["gpt-4o"]
    assert row_for("gpt-4o-mini-2024-07-18") is RULES["gpt-4o-mini"]
    assert row_for("ft:gpt-4o-mini-2024-07-18:team::id") is RULES["gpt-4o-mini"]
    assert row_for("gpt-5.4-mini-2026-01-01") is RULES["gpt-5.4-mini"]
    assert match_prefix("gpt-4o", RULES) == "gpt-4o"


LLAVA_1_5 = [
    "llava",
    "llava-1-5",
    "llava-1.5-7b-hf",
    "llava-v1.5-7b",
    "LLaVA-v1.5-13B-Q4_K_M.gguf",
    "llava-hf/llava-1.5-7b-hf",
    "liuhaotian/llava-v1.5-7b",
    "llava-13b",
    "yorickvp/llava-13b:2facb4a4",
    "llava:7b-v1.5-q4_0",
]
OTHER_LLAVAS = [
    "llava-v1.6-34b",
    "llava-hf/llava-v1.6-mistral-7b-hf",
    "llava-onevision-qwen2-7b-ov",
    "llava-llama3:8b",
    "llava-med-v1.5-mistral-7b",
    "llava-next",
    "llava:34b",
    "llava:7b",
    "llava:latest",
    "llava-34b",
    "bakllava",
    "replicate:yorickvp/llava-13b",
]


@pytest.mark.parametrize("model", LLAVA_1_5)
def test_names_of_llava_1_5_have_its_count_and_context(model):
    assert row_for(model) is RULES["LLaVA 1.5"] and context_length(model) == 4096


@pytest.mark.parametrize("model", OTHER_LLAVAS)
def test_other_llava_models_have_neither(model):
    assert rule_for(model) is None and context_length(model) is None


@pytest.mark.parametrize("model", ["gpt-4omega", "gpt-5.9", "claude", "", "ft:", "llava-v1.6-34b", "qwen-vl-max"])
def test_unknown_models_have_no_count_and_a_limited_size(model):
    assert image_tokens((800, 600), model).tokens is None
    assert sent_size((8000, 6000), model) == (2048, 1536)


def test_invalid_sizes_and_details_raise():
    for size in ((0, 10), (10, -1)):
        with pytest.raises(errors.SettingsError, match="at least 1"):
            image_tokens(size)
    with pytest.raises(errors.SettingsError, match="use one of auto, low, high"):
        image_tokens((10, 10), "gpt-4o", "original")
    with pytest.raises(errors.SettingsError, match="auto, low, high, original"):
        image_tokens((10, 10), "unknown-model", "huge")
    with pytest.raises(errors.ImageTooLargeError, match="30,000"):
        image_tokens((8000, 8000), "gpt-6-astra", "original")


def test_every_row_names_its_source_and_date():
    for name, row in RULES.items():
        assert row.name == name and row.source and row.read == "2026-11" and row.checked != ""
        assert (row.names is None) or row_for(EXAMPLES[name]) is row
        assert ("documentation, not tried" in row.reference) == (row.checked is None)


NAMES = {
    "anthropic:claude-sonnet-5": "Claude, high resolution",
    "claude-opus-4-7": "Claude, high resolution",
    "claude-opus-4-8-20260801": "Claude, high resolution",
    "openrouter:anthropic/claude-opus-4.7": "Claude, high resolution",
    "claude-haiku-4-5": "Claude, standard",
    "claude-opus-4-1-20250805": "Claude, standard",
    "openrouter:anthropic/claude-sonnet-4.6:beta": "Claude, standard",
    "claude-3-5-sonnet-latest": "Claude, standard",
    "gemini:gemini-2.5-flash": "Gemini 2",
    "gemini:models/gemini-2.0-flash-001": "Gemini 2",
    "openrouter:google/gemini-2.5-pro": "Gemini 2",
    "gemini:gemini-3-pro": "Gemini 3",
    "openrouter:google/gemini-3.5-flash": "Gemini 3",
    "openrouter:qwen/qwen2.5-vl-72b-instruct": "Qwen2.5-VL",
    "openrouter:qwen/qwen2.5-vl-72b-instruct:free": "Qwen2.5-VL",
    "fireworks:accounts/fireworks/models/qwen2p5-vl-32b-instruct": "Qwen2.5-VL",
    "together:Qwen/Qwen2.5-VL-72B-Instruct": "Qwen2.5-VL",
    "deepinfra:Qwen/Qwen2-VL-7B-Instruct": "Qwen2.5-VL",
    "huggingface:Qwen/Qwen3-VL-8B-Instruct:novita": "Qwen3-VL",
    "local:qwen2.5vl:7b": "Qwen2.5-VL, Ollama",
    "local:Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf": "Qwen2.5-VL, llama.cpp",
    "local:/models/Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf": "Qwen2.5-VL, llama.cpp",
    r"local:C:\models\Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf": "Qwen2.5-VL, llama.cpp",
    "local:ggml-org/Qwen2.5-VL-3B-Instruct-GGUF": "Qwen2.5-VL, llama.cpp",
    "openrouter:qwen/qwen3-vl-235b-a22b-instruct": "Qwen3-VL",
    "openrouter:qwen/qwen3-vl-8b-instruct:free": "Qwen3-VL",
    "local:qwen3-vl:8b": "Qwen3-VL, llama.cpp",
    "mistral:pixtral-large-latest": "Pixtral",
    "openrouter:mistralai/pixtral-12b": "Pixtral",
    "openrouter:mistralai/mistral-small-3.2-24b-instruct": "Mistral Small 3.1 and 3.2",
    "mistral:mistral-medium-latest": "Mistral, other models",
    "local:SmolVLM-500M-Instruct-Q8_0.gguf": "SmolVLM 256M and 500M",
    "local:smolvlm2-256m": "SmolVLM 256M and 500M",
    "local:ggml-org/SmolVLM2-256M-Video-Instruct-GGUF": "SmolVLM 256M and 500M",
    "local:SmolVLM-Instruct-Q4_K_M.gguf": "SmolVLM 2.2B",
    "openrouter:google/gemma-3-27b-it:free": "Gemma 3",
    "local:gemma3:4b": "Gemma 3",
    "local:gemma-3-4b-it-Q4_K_M.gguf": "Gemma 3",
    "together:meta-llama/Llama-4-Scout-17B-16E-Instruct": "Llama 4",
    "groq:meta-llama/llama-4-maverick-17b-128e-instruct": "Llama 4",
    "openrouter:meta-llama/llama-4-scout:free": "Llama 4",
    "xai:grok-4.7": "Grok",
    "openrouter:x-ai/grok-4": "Grok",
    "openrouter:openai/gpt-4o": "gpt-4o",
}
WITHOUT_ROW = [
    "openrouter:somebody/claude-opus-4-7",
    "openrouter:somebody/gemini-2.5-flash",
    "gemini:gemini-flash-latest",
    "gemini:gemini-4-pro",
    "local:gemma3n:e4b",
    "local:gemma-3-1b-it-Q4_K_M.gguf",
    "openrouter:qwen/qwen3-235b-a22b",
    "openrouter:qwen/qwen-2.5-72b-instruct",
    "together:meta-llama/Llama-Vision-Free",
    "local:smollm2:1.7b",
    "replicate:anthropic/claude-4-sonnet",
]


@pytest.mark.parametrize("name, row", NAMES.items())
def test_every_form_of_a_models_name_reaches_its_row(name, row):
    assert row_for(counted_model(name).model) is RULES[row]
    assert image_tokens((640, 480), name).tokens == view_of((640, 480), EXAMPLES.get(row, row)).tokens


@pytest.mark.parametrize("name", WITHOUT_ROW)
def test_names_of_other_models_have_no_row(name):
    assert image_tokens((640, 480), name).tokens is None
