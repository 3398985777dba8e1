"""Headers of GGUF files: what kind of model a file contains, and whether two files belong together."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vision_nb.errors import EngineMissingError, ModelFileError, ModelFileNotFoundError, ProjectorMismatchError
from vision_nb.paths import shown_path

V = TypeVar("V")

_PROJECTORS: Mapping[str | None, tuple[str, int, tuple[str, ...]]] = {
    None: ("mm.2.weight", 1, ()),  # LLaVA's, in files from before the key existed
    "mlp": ("mm.2.weight", 1, ()),
    "idefics3": ("mm.model.fc.weight", 1, ()),  # SmolVLM
    "gemma3": ("mm.input_projection.weight", 0, ("gemma3",)),
    "qwen2vl_merger": ("mm.2.weight", 1, ("qwen2vl",)),
    "qwen2.5vl_merger": ("mm.2.weight", 1, ("qwen2vl",)),
}
"""For each type of projector: its last tensor, the axis of that tensor that has the length of the vectors it returns,
and the architectures of the text models that require it and that it requires; empty if there are none.

Source: llama.cpp, tools/mtmd/clip.cpp (clip_n_mmproj_embd) and conversion scripts, read in 2026-11.
"""


@dataclass(frozen=True)
class GgufHeader:
    """Facts from the header of a GGUF file.

    Attributes:
        path: The file.
        architecture: Such as "llama", or "clip" for an image encoder.
        embedding_length: Length of a token's vector in a text model; None if it is not in the file.
        context_length: Tokens per conversation for which a text model was trained; None if it is not in the file.
        chat_template: A text model's chat template in Jinja; None if it is not in the file.
        adds_space: Whether a text model's tokenizer puts a space before a text.
        projector_type: Such as "mlp" (LLaVA) or "idefics3" (SmolVLM); None in text models and old LLaVA files.
        projected_length: Length of the vectors that the projector returns; None for unknown types of projectors.
    """

    path: Path
    architecture: str
    embedding_length: int | None = None
    context_length: int | None = None
    chat_template: str | None = None
    adds_space: bool = False
    projector_type: str | None = None
    projected_length: int | None = None


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file; the weights are not read.

    Raises:
        EngineMissingError: The package gguf is not installed.
        ModelFileNotFoundError: The file does not exist.
        ModelFileError: The file is not a GGUF file, or is incomplete.
    """
    try:
        from vision_nb.providers.llamacpp.gguf_reader import HeaderReader
    except ImportError as error:
        raise EngineMissingError('gguf is not installed: pip install "vision-nb[local]".') from error
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # for example a name that is too long
        is_file = False
    if not is_file:
        raise ModelFileNotFoundError(f"Model file {shown_path(path)} not found: check the path, or download it first.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if not start.startswith(b"GGUF"):
            raise ModelFileError(f"{path.name} is not a GGUF file{_diagnosis(start)}")
        return _facts(path, HeaderReader(path))
    except OSError as error:
        raise ModelFileError(f"{shown_path(path)} cannot be read ({error.strerror}): check its permissions.") from error
    except (ValueError, LookupError, ArithmeticError, TypeError, struct.error) as error:
        raise ModelFileError(
            f"{path.name} is incomplete or damaged, or newer than the installed gguf package ({error!s:.80}). "
            "Download it again, or upgrade gguf."
        ) from error


def _facts(path: Path, reader: Any) -> GgufHeader:
    architecture = str(_value(reader, "general.architecture", str))
    if architecture != "clip":
        return GgufHeader(
            path,
            architecture,
            embedding_length=_value(reader, f"{architecture}.embedding_length", int),
            context_length=_value(reader, f"{architecture}.context_length", int),
            chat_template=_value(reader, "tokenizer.chat_template", str),
            adds_space=_value(reader, "tokenizer.ggml.model", str) == "llama"
            and _value(reader, "tokenizer.ggml.add_space_prefix", bool) is not False,
        )
    projector = _value(reader, "clip.projector_type", str) or _value(reader, "clip.vision.projector_type", str)
    # Not clip.vision.projection_dim: published files have CLIP's own 768 there.
    tensor_name, axis, _ = _PROJECTORS.get(projector, ("", 0, ()))
    lengths = [int(tensor.shape[axis]) for tensor in reader.tensors if tensor.name == tensor_name]
    return GgufHeader(path, architecture, projector_type=projector, projected_length=lengths[0] if lengths else None)


def check_pair(model: GgufHeader, mmproj: GgufHeader) -> None:
    """Check that two files are a text model and the image encoder made for it.

    Raises:
        ModelFileError: A file is of the wrong kind.
        ProjectorMismatchError: The encoder was made for another text model.
    """
    if model.architecture == "clip" and mmproj.architecture != "clip":
        raise ModelFileError(
            f"{model.path.name} is the image encoder and {mmproj.path.name} the text model: swap model= and mmproj=."
        )
    if model.architecture == "clip":
        raise ModelFileError(f"{model.path.name} is an image encoder: model= must be the text model.")
    if mmproj.architecture != "clip":
        raise ModelFileError(
            f"{mmproj.path.name} is a text model ({mmproj.architecture}), not an image encoder: mmproj= must be the "
            "file whose name begins with mmproj."
        )
    type_name = mmproj.projector_type
    accepted = _PROJECTORS[type_name][2] if type_name in _PROJECTORS else (model.architecture,)
    required = {architecture for row in _PROJECTORS.values() for architecture in row[2]}
    if model.architecture not in accepted and (accepted or model.architecture in required):
        raise ProjectorMismatchError(
            f"{mmproj.path.name} (type {type_name or 'mlp'}) was not made for {model.path.name}, a "
            f"{model.architecture} model. Use the mmproj file published with the model."
        )
    produced, expected = mmproj.projected_length, model.embedding_length
    if produced is not None and expected is not None and produced != expected:
        raise ProjectorMismatchError(
            f"{mmproj.path.name} returns vectors of length {produced:,}, but {model.path.name} expects {expected:,}: "
            "it was made for another model. Use the mmproj file published with the model."
        )


def _value(reader: Any, key: str, kind: type[V]) -> V | None:
    """Return a value of the metadata; None if it does not exist or has another type."""
    field = reader.get_field(key)
    value = None if field is None else field.contents()
    return value if isinstance(value, kind) else None


def _diagnosis(start: bytes) -> str:
    """Return the rest of an error message about another kind of file."""
    if not start:
        return ": it is empty. Download it again."
    if start.lstrip()[:1] == b"<":
        return " but a web page. A URL with /blob/ opens a web page about the file: use /resolve/ instead."
    if start.startswith(b"version https://git-lfs"):
        return " but a Git LFS pointer. Run git lfs pull in its repository."
    return ", the only format that llama.cpp loads. Look for a file whose name ends in .gguf."
