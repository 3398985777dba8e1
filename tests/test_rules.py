"""Token rules: the sources' worked examples, and properties that hold for any size."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nb import errors, image_tokens
from vision_nb.cost.image_rules import MAX_PATCHES, RULES, Patches, rule_for, sent_size, view_of
from vision_nb.cost.image_tokens import image_tokens_array
from vision_nb.cost.model_names import match_prefix
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
SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
KNOWN = sorted(name for name, rule in RULES.items() if rule is not None)


@pytest.mark.parametrize("model, detail, size, tokens", WORKED)
def test_worked_examples_of_the_sources(model, detail, size, tokens):
    assert image_tokens(size, model, detail).tokens == tokens


def test_seen_sizes_in_the_guide():
    assert view_of((2048, 2048), "gpt-6-astra", "high").size == (1600, 1600)
    assert view_of((1800, 2400), "o4-mini", "high").size == (1056, 1408)
    assert view_of((1800, 2400), "o4-mini", "high").grid == (33, 44)


@settings(max_examples=400, deadline=None)
@given(SIZES, st.sampled_from(KNOWN), st.sampled_from(["auto", "low", "high", "original"]))
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
    with pytest.raises(errors.SettingsError, match="at least 1"):
        image_tokens_array([0], [1], "gpt-4o")


def test_counting_a_size_does_not_import_numpy():
    code = "import sys, vision_nb as vn\nvn.image_tokens((800, 600), 'gpt-5.4')\nassert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (20_000, 20_000), (65_535, 1), (65_535, 33)])
@pytest.mark.parametrize("model", KNOWN)
def test_extreme_sizes_have_a_count(size, model):
    for detail in ("low", "high"):
        assert view_of(size, model, detail).tokens > 0


def test_snapshots_and_fine_tunes_use_the_longest_matching_row():
    assert rule_for("gpt-4o-2024-08-06") is RULES["gpt-4o"]
    assert rule_for("gpt-4o-mini-2024-07-18") is RULES["gpt-4o-mini"]
    assert rule_for("ft:gpt-4o-mini-2024-07-18:team::id") is RULES["gpt-4o-mini"]
    assert rule_for("gpt-5.4-mini-2026-01-01") is RULES["gpt-5.4-mini"]
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
    assert rule_for(model) is RULES["llava"] and context_length(model) == 4096


@pytest.mark.parametrize("model", OTHER_LLAVAS)
def test_other_llava_models_have_neither(model):
    assert rule_for(model) is None and context_length(model) is None


@pytest.mark.parametrize("model", ["gpt-4omega", "gpt-5.9", "claude", "", "ft:", "llava-v1.6-34b", "qwen2-vl"])
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
    for name in KNOWN:
        assert name == "demo" or "read 2026-11" in RULES[name].source
