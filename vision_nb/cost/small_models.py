"""The small models that run on this machine by name: files, licenses, sizes, memory and languages.

A row has no code of its own, so that every layer can use it. Whether a model is downloaded is known to
`vision_nb.providers.llamacpp.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vision_nb.checks.spelling import similar
from vision_nb.errors import SettingsError

_LOCALAI = "sha256: LocalAI's model gallery of 2026-08"
_GGML_ORG = "files: llama.cpp, Multimodal documentation; sizes: several public lists; read 2026-11"
_SMOLVLM = f"{_GGML_ORG}; {_LOCALAI}; memory, license and language: the model's card, read 2026-11"


@dataclass(frozen=True)
class ModelFile:
    """A file of weights on the hub.

    Attributes:
        name: Its name in the repository.
        size: Its size in bytes; approximate if ``sha256`` is None.
        sha256: The hash of its content in hexadecimal; None if it is not known before the download.
    """

    name: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class SmallModel:
    """A model that llama.cpp runs on this machine.

    Attributes:
        name: Its name in ``vn.connect(name)``.
        title: Its name in messages.
        repo_id: The repository on the Hugging Face Hub.
        text: The text model.
        projector: The image encoder and projector made for it.
        license: The name of the license.
        license_url: Where a license that is not a common one can be read; None for common ones.
        memory: Memory needed to ask about one image, in bytes, approximate.
        context_length: Tokens per conversation when it is served by name.
        languages: The languages that it was trained for.
        source: Where the facts come from, and when they were read.
    """

    name: str
    title: str
    repo_id: str
    text: ModelFile
    projector: ModelFile
    license: str
    license_url: str | None = None
    memory: int
    context_length: int
    languages: str
    source: str

    @property
    def files(self) -> tuple[ModelFile, ModelFile]:
        """The two files."""
        return self.text, self.projector

    @property
    def size(self) -> int:
        """The size of both files in bytes."""
        return self.text.size + self.projector.size


_ROWS = (
    SmallModel(
        name="smolvlm-256m",
        title="SmolVLM-256M",
        repo_id="ggml-org/SmolVLM-256M-Instruct-GGUF",
        text=ModelFile(
            "SmolVLM-256M-Instruct-Q8_0.gguf",
            175_054_528,
            "2a31195d3769c0b0fd0a4906201666108834848db768af11de1d2cef7cd35e65",
        ),
        projector=ModelFile(
            "mmproj-SmolVLM-256M-Instruct-Q8_0.gguf",
            103_769_856,
            "7e943f7c53f0382a6fc41b6ee0c2def63ba4fded9ab8ed039cc9e2ab905e0edd",
        ),
        license="Apache 2.0",
        memory=1_000_000_000,  # "under 1 GB" on a graphics card
        context_length=8192,
        languages="English",
        source=_SMOLVLM,
    ),
    SmallModel(
        name="smolvlm-500m",
        title="SmolVLM-500M",
        repo_id="ggml-org/SmolVLM-500M-Instruct-GGUF",
        text=ModelFile(
            "SmolVLM-500M-Instruct-Q8_0.gguf",
            436_806_912,
            "9d4612de6a42214499e301494a3ecc2be0abdd9de44e663bda63f1152fad1bf4",
        ),
        projector=ModelFile(
            "mmproj-SmolVLM-500M-Instruct-Q8_0.gguf",
            108_783_360,
            "d1eb8b6b23979205fdf63703ed10f788131a3f812c7b1f72e0119d5d81295150",
        ),
        license="Apache 2.0",
        memory=1_300_000_000,  # 1.23 GB on a graphics card
        context_length=8192,
        languages="English",
        source=_SMOLVLM,
    ),
    SmallModel(
        name="smolvlm2-256m",
        title="SmolVLM2-256M",
        repo_id="ggml-org/SmolVLM2-256M-Video-Instruct-GGUF",
        text=ModelFile(
            "SmolVLM2-256M-Video-Instruct-Q8_0.gguf",
            175_056_256,
            "af7ce9951a2f46c4f6e5def253e5b896ca5e417010e7a9949fdc9e5175c27767",
        ),
        projector=ModelFile(
            "mmproj-SmolVLM2-256M-Video-Instruct-Q8_0.gguf",
            103_771_616,
            "d34913a588464ff7215f086193e0426a4f045eaba74456ee5e2667d8ed6798b1",
        ),
        license="Apache 2.0",
        memory=1_000_000_000,  # as SmolVLM-256M; 1.38 GB for a video
        context_length=8192,
        languages="English",
        source=_SMOLVLM,
    ),
    SmallModel(
        name="qwen2.5-vl-3b",
        title="Qwen2.5-VL-3B",
        repo_id="ggml-org/Qwen2.5-VL-3B-Instruct-GGUF",
        text=ModelFile(
            "Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf",
            1_929_901_056,
            "d02fe9b69ad8cadbbd228e387667af66612c44bed29ffc8eb1e7caf9ac486c12",
        ),
        projector=ModelFile(
            "mmproj-Qwen2.5-VL-3B-Instruct-Q8_0.gguf",
            844_757_728,
            "980c9b2f78c04e6cff93d277ada09e768394f112d75db3b4e9dea8a69f9fb904",
        ),
        license="Qwen Research License (not for commercial use)",
        license_url="https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct/blob/main/LICENSE",
        memory=4_000_000_000,  # estimated: the files, and 1.2 GB for the context and the image
        context_length=8192,
        languages="English, Chinese and many others",
        source=f"{_GGML_ORG}; sha256: several public lists; license: the model's repository",
    ),
    SmallModel(
        name="gemma-3-4b",
        title="Gemma 3 4B",
        repo_id="ggml-org/gemma-3-4b-it-GGUF",
        text=ModelFile(
            "gemma-3-4b-it-Q4_K_M.gguf",
            2_489_757_856,
            "882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863",
        ),
        projector=ModelFile(
            "mmproj-model-f16.gguf",
            851_251_104,
            "8c0fb064b019a6972856aaae2c7e4792858af3ca4561be2dbf649123ba6c40cb",
        ),
        license="Gemma Terms of Use",
        license_url="https://ai.google.dev/gemma/terms",
        memory=4_500_000_000,  # estimated: the files, and 1.2 GB for the context and the image
        context_length=8192,
        languages="over 140",
        source=f"{_GGML_ORG}; sha256: several public lists; languages: the model's card",
    ),
    SmallModel(
        name="llava-1.5-7b",
        title="LLaVA 1.5 7B",
        repo_id="mys/ggml_llava-v1.5-7b",
        text=ModelFile("ggml-model-q4_k.gguf", 4_080_000_000),
        projector=ModelFile("mmproj-model-f16.gguf", 624_000_000),
        license="Llama 2 Community License",
        license_url="https://ai.meta.com/llama/license/",
        memory=8_250_000_000,  # 8,246 MiB in LocalAI
        context_length=4096,
        languages="English; answers in others too",
        source="LocalAI's LLaVA example (files, memory); sizes approximate; read 2026-11",
    ),
)

SMALL_MODELS: Mapping[str, SmallModel] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name, the smallest first."""


def small_model(name: str) -> SmallModel:
    """Return the row of a model.

    Raises:
        SettingsError: There is no model with this name.
    """
    plain = str(name).strip().lower().removeprefix("local:")
    if plain in SMALL_MODELS:
        return SMALL_MODELS[plain]
    nearest = similar(plain, SMALL_MODELS)
    hint = f"did you mean {nearest!r}?" if nearest else f"use one of {', '.join(SMALL_MODELS)}."
    raise SettingsError(f"There is no small model {str(name)!r:.80}: {hint}")
