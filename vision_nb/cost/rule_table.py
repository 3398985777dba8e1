"""The table of token rules: which models count images by which rule, with the source of each row.

A model without a row has no known rule, and never uses the rule of another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from vision_nb.cost.model_names import LLAVA_1_5
from vision_nb.cost.rule_kinds import (
    UNKNOWN_RULE_SIDE,
    CanvasTiles,
    Crops,
    Fixed,
    Level,
    PaddedPatches,
    Patches,
    RoundedPatches,
    Rule,
    StretchedTiles,
    Tiles,
    View,
)
from vision_nb.images.decode import Size


@dataclass(frozen=True)
class Row:
    """A rule, and the models that count images by it.

    Attributes:
        name: A model's name, or that of a group of models if the row has ``names``.
        rule: The rule.
        source: Where the rule comes from.
        checked: Which real counts or published examples the rule was compared with; None if it was only read.
        names: A regular expression for the models' names, or None for ``name`` itself and its snapshots.
        estimate_above: The longest side of an image, in pixels, above which the count is an estimate: there, the rule
            is known to differ from real counts, or depends on the server. None if it is never an estimate.
        read: When the source was read.
    """

    name: str
    rule: Rule
    source: str
    checked: str | None = None
    names: str | None = None
    estimate_above: int | None = None
    read: str = "2026-11"

    @property
    def reference(self) -> str:
        """The source, with its date, and whether the rule was only read."""
        return f"{self.source}, read {self.read}{'; documentation, not tried' if self.checked is None else ''}"

    def is_estimate(self, size: Size) -> bool:
        """Return whether the count of an image of this size is an estimate."""
        return self.estimate_above is not None and max(size) > self.estimate_above

    def view(self, size: Size, detail: str) -> View:
        """Return how these models see an image; see `Rule.view`."""
        return replace(self.rule.view(size, detail), is_estimate=self.is_estimate(size))


def _levels(low: Level, high: Level, auto: Level, original: Level | None = None) -> dict[str, Level]:
    named = {"auto": auto, "low": low, "high": high}
    return named if original is None else {**named, "original": original}


_LOW_512 = Level(512, None)
_LOW_2048 = Level(2048, 6144)
_HIGH = Level(2048, 2500)
_ORIGINAL_6000 = Level(6000, 10_000)
_ORIGINAL_FULL = Level(65_535, None)
_SAME_6144 = _levels(_LOW_2048, _LOW_2048, _LOW_2048)
_SAME_1536 = _levels(Level(2048, 1536), Level(2048, 1536), Level(2048, 1536))

_ASTRA = Patches(_levels(_LOW_512, Level(65_535, 2500), _ORIGINAL_FULL, _ORIGINAL_FULL), 1.2)
_GPT_5_6 = Patches(_levels(_LOW_512, _HIGH, _ORIGINAL_FULL, _ORIGINAL_FULL), 1.2)
_GPT_5_5 = Patches(_levels(_LOW_512, _HIGH, _ORIGINAL_6000, _ORIGINAL_6000), 1.2)
_GPT_5_4 = Patches(_levels(_LOW_2048, _HIGH, _HIGH, _ORIGINAL_6000), 1.2)
_GPT_4O = Tiles(85, 170)
_GPT_5 = Tiles(70, 140)
_O_SERIES = Tiles(75, 150)

_GUIDE_2026 = "OpenAI, Images and vision guide"
_GUIDE_2025 = "OpenAI, Images and vision guide, 2025 edition (model deprecated)"
_OPENAI: Mapping[str, Rule] = {
    "gpt-6-astra": _ASTRA,
    "gpt-5.6-sol": _GPT_5_6,
    "gpt-5.6-terra": _GPT_5_6,
    "gpt-5.6-luna": _GPT_5_6,
    "gpt-5.5": _GPT_5_5,
    "gpt-5.4": _GPT_5_4,
    "gpt-5.4-mini": _GPT_5_4,
    "gpt-5.4-nano": _GPT_5_4,
    "gpt-5.2": Patches(_SAME_6144, 1.2),
    "gpt-4.1-mini": Patches(_SAME_6144, 1.62),
    "gpt-4o": _GPT_4O,
    "gpt-4.1": _GPT_4O,
    "gpt-4.5": _GPT_4O,
    "gpt-4-turbo": _GPT_4O,
    "gpt-4-vision-preview": _GPT_4O,
    "gpt-4o-mini": Tiles(2833, 5667),
    "gpt-5": _GPT_5,
    "gpt-5.1": _GPT_5,
    "gpt-5-chat-latest": _GPT_5,
    "o1": _O_SERIES,
    "o1-pro": _O_SERIES,
    "o3": _O_SERIES,
    "computer-use-preview": Tiles(65, 129),
}
_DEPRECATED: Mapping[str, Rule] = {
    "gpt-5-mini": Patches(_SAME_1536, 1.2),
    "gpt-5-nano": Patches(_SAME_1536, 1.5),
    "gpt-4.1-nano": Patches(_SAME_1536, 2.46),
    "o4-mini": Patches(_SAME_1536, 1.72),
}
_EXAMPLES = dict.fromkeys(("gpt-4o", "gpt-4o-mini", "gpt-6-astra", "gpt-5.4", "o4-mini"), "the guide's examples")

_ANY_FOLDER = r"(?:(?:[a-z]:)?[^:]*[/\\])?"  # the owner of a model with open weights, or the folder of its file
_END = r"(?:[-_:.].*)?"
_GGUF = r".*[-.]gguf(?::.*)?"
_CLAUDE = "Anthropic, Vision: 28-pixel patches, padded; documentation of 2026-08"
_QWEN_3 = "Qwen3-VL, preprocessor_config.json, and smart_resize in transformers 5.24"
_QWEN_2 = "Qwen2.5-VL, preprocessor_config.json, and smart_resize in transformers 5.24"
_LLAMA_CPP = "with llama.cpp's limit of 4,096 tokens (tools/mtmd)"
_COUNTED = "10 of 10 counts of llama.cpp, with random weights"
_MISTRAL = "mistral-common 1.13, ImageEncoder"
_SMOLVLM = "SmolVLM, preprocessor_config.json, and its processor in transformers 5.24"
_COUNTED_TILES = (
    "8 of 8 counts of llama.cpp, with random weights, without its marker tokens (2 per tile, 1 per row, 3 per image)"
)

_FAMILIES = (
    Row(
        "Claude, high resolution",
        PaddedPatches(28, 2576, 4784),
        f"{_CLAUDE}; Opus 4.7 and later, and Claude 5",
        "12 of 12 counts by a third party up to 1920 x 1080; at 4032 x 3024, it counted 3,928 and the rule gives 4,740",
        names=rf"claude-(?:opus-4[-.][7-9]|(?:opus|sonnet|haiku|fable|mythos)-[5-9]){_END}",
        estimate_above=1568,
    ),
    Row(
        "Claude, standard",
        PaddedPatches(28, 1568, 1568),
        _CLAUDE,
        "Anthropic's examples",
        names=r"claude-.+",
        estimate_above=1568,
    ),
    Row(
        "Gemini 2",
        Crops(768, 258, max_side=3072, whole_up_to=384),
        "Google, Gemini API: Understand and count tokens (another formula there gives more tiles for images under "
        "1,152 pixels); 3,072 pixels: 2024 edition",
        names=rf"(?:models/)?gemini-2{_END}",
        estimate_above=384,
    ),
    Row(
        "Gemini 3",
        Fixed(1101),
        "public reports of 1,065 to 1,101 tokens; Google, Media resolution: at most 1,120",
        names=rf"(?:models/)?gemini-3{_END}",
        estimate_above=0,
    ),
    Row(
        "Qwen3-VL, llama.cpp",
        RoundedPatches(32, 8, 4096),
        f"{_QWEN_3}, {_LLAMA_CPP}",
        "5 of 5 counts of Qwen3.8 with Ollama, published 2026-08 by a third party",
        names=rf"{_ANY_FOLDER}qwen-?3(?:-?vl|\.[568])(?:{_GGUF}|[^:/]*:\d.*)",
    ),
    Row(
        "Qwen3-VL",
        RoundedPatches(32, 64, 16_384),
        f"{_QWEN_3}; one service allows only 2,560 tokens",
        "6 of 6 counts of Qwen3.8 with seven services, published 2026-08 by a third party",
        names=rf"{_ANY_FOLDER}qwen-?3(?:-?vl|[.p][568]){_END}",
        estimate_above=1600,
    ),
    Row(
        "Qwen2.5-VL, llama.cpp",
        RoundedPatches(28, 8, 4096),
        f"{_QWEN_2}, {_LLAMA_CPP}",
        _COUNTED,
        names=rf"{_ANY_FOLDER}qwen-?2(?:\.5)?[-_]?vl(?:-3b|{_GGUF})",
    ),
    Row(
        "Qwen2.5-VL, Ollama",
        RoundedPatches(28, 8, 4096),
        f"{_QWEN_2}; the limits depend on Ollama's version",
        names=r"qwen2\.5vl(?::.*)?",
        estimate_above=0,
    ),
    Row(
        "Qwen2.5-VL",
        RoundedPatches(28, 4, 16_384),
        f"{_QWEN_2}; some services allow 1,280 tokens",
        names=rf"{_ANY_FOLDER}qwen-?2(?:[.p]5)?-?vl{_END}",
        estimate_above=1000,
    ),
    Row(
        "Pixtral, llama.cpp",
        RoundedPatches(16, 8, 1024, breaks=1),
        "llama.cpp, tools/mtmd",
        _COUNTED,
        names=rf"{_ANY_FOLDER}pixtral{_GGUF}",
    ),
    Row(
        "Mistral, llama.cpp",
        RoundedPatches(28, 8, 1024, breaks=1),
        "llama.cpp, tools/mtmd",
        _COUNTED,
        names=rf"{_ANY_FOLDER}(?:mistral|ministral|magistral){_GGUF}",
    ),
    Row(
        "Pixtral",
        PaddedPatches(16, 1024, breaks=1),
        f"{_MISTRAL}, of 16-pixel patches and 1,024 pixels a side",
        names=rf"{_ANY_FOLDER}pixtral-(?:12b|large){_END}",
    ),
    Row(
        "Mistral Small 3.1 and 3.2",
        PaddedPatches(28, 1540, breaks=1),
        f"{_MISTRAL}, of 14-pixel patches merged 2 x 2 and 1,540 pixels a side (the models' config.json)",
        names=rf"{_ANY_FOLDER}mistral-small-(?:3[.p][12]|250[36]){_END}",
    ),
    Row(
        "Mistral, other models",
        PaddedPatches(28, 1540, breaks=1),
        f"{_MISTRAL}, as Mistral Small 3.1; not published for these models",
        names=r"(?:mistral-(?:small|medium|large)|ministral|magistral)-.+",
        estimate_above=0,
    ),
    Row(
        "SmolVLM 256M and 500M",
        StretchedTiles(512, 2048, 64),
        _SMOLVLM,
        _COUNTED_TILES,
        names=rf"{_ANY_FOLDER}smolvlm2?-(?:256m|500m){_END}",
    ),
    Row(
        "SmolVLM 2.2B",
        StretchedTiles(384, 1536, 81),
        _SMOLVLM,
        _COUNTED_TILES,
        names=rf"{_ANY_FOLDER}smolvlm(?:2-2\.2b)?-(?:instruct|base|synthetic){_END}",
    ),
    Row(
        "Gemma 3",
        Fixed(256, encoder_side=896),
        "Gemma 3, config.json (mm_tokens_per_image), and its processor in transformers 5.24",
        _COUNTED,
        names=rf"{_ANY_FOLDER}gemma-?3(?:[-:](?!1b)\d+b{_END})?",
    ),
    Row(
        "Llama 4",
        CanvasTiles(336, 144, 16),
        "Llama 4, its processor in transformers 5.24; services may allow fewer tiles",
        names=rf"{_ANY_FOLDER}llama-?4-(?:scout|maverick){_END}",
        estimate_above=0,
    ),
    Row(
        "Grok",
        Crops(448, 256, max_side=UNKNOWN_RULE_SIDE, max_tiles=6, has_overview=True),
        "xAI, Image understanding, 2025 edition: at most 6 tiles and one more; the layout is not published",
        names=rf"grok-(?:[4-9]|2-vision|vision){_END}",
        estimate_above=0,
    ),
    Row(
        "LLaVA 1.5",
        Fixed(576),
        "LLaVA 1.5, configuration: a 336-pixel encoder with 14-pixel patches, (336 / 14)^2",
        "llama.cpp's own count",
        names=LLAVA_1_5,  # LLaVA-NeXT uses up to 2,880 tokens (5 x 576), depending on the server
    ),
)

RULES: Mapping[str, Row] = MappingProxyType(
    {
        row.name: row
        for row in (
            *(Row(name, rule, _GUIDE_2026, _EXAMPLES.get(name)) for name, rule in _OPENAI.items()),
            *(Row(name, rule, _GUIDE_2025, _EXAMPLES.get(name)) for name, rule in _DEPRECATED.items()),
            *_FAMILIES,
            Row("demo", Tiles(85, 170), "the demo model counts like gpt-4o", "the demo server's own count"),
        )
    }
)
"""The rows by name. Snapshots and fine-tunes use the row whose name is the longest matching prefix; otherwise the first
row whose ``names`` match."""
