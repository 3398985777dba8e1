"""Headers of GGUF files: what kind of model a file contains, and whether two files belong together."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_nb.errors import EngineMissingError, ModelFileError, ModelFileNotFoundError, ProjectorMismatchError


@dataclass(frozen=True)
class GgufHeader:
    """Facts from the header of a GGUF file.

    Attributes:
        path: The file.
        architecture: Such as "llama", or "clip" for an image encoder.
        embedding_length: Length of a token's vector in a text model; None if it is not in the file.
        projected_length: Length of the vectors that LLaVA's projector returns; None for other projectors.
    """

    path: Path
    architecture: str
    embedding_length: int | None
    projected_length: int | None


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
        raise EngineMissingError('gguf is not installed: pip install "vision-nb[llama]".') from error
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # for example a name that is too long
        is_file = False
    if not is_file:
        raise ModelFileNotFoundError(f"Model file {path} not found: check the path, or download it first.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if not start.startswith(b"GGUF"):
            raise ModelFileError(f"{path.name} is not a GGUF file{_diagnosis(start)}")
        reader = HeaderReader(path)
        architecture = str(_value(reader, "general.architecture"))
        length = _value(reader, f"{architecture}.embedding_length")
        # Not clip.vision.projection_dim: published files have CLIP's own 768 there.
        lengths = [int(tensor.shape[1]) for tensor in reader.tensors if tensor.name == "mm.2.weight"]
        is_llava = _value(reader, "clip.projector_type") in ("mlp", None)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except (ValueError, LookupError, ArithmeticError, TypeError, struct.error) as error:
        raise ModelFileError(
            f"{path.name} is incomplete or damaged, or newer than the installed gguf package ({error!s:.80}). "
            "Download it again, or upgrade gguf."
        ) from error
    projected_length = lengths[0] if lengths and is_llava else None
    return GgufHeader(path, architecture, length if isinstance(length, int) else None, projected_length)


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
    produced, expected = mmproj.projected_length, model.embedding_length
    if produced is not None and expected is not None and produced != expected:
        raise ProjectorMismatchError(
            f"{mmproj.path.name} returns vectors of length {produced:,}, but {model.path.name} expects {expected:,}: "
            "it was made for another model. Use the mmproj file published with the model."
        )


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _diagnosis(start: bytes) -> str:
    """Return the rest of an error message about another kind of file."""
    if not start:
        return ": it is empty. Download it again."
    if start.lstrip()[:1] == b"<":
        return " but a web page. A URL with /blob/ opens a web page about the file: use /resolve/ instead."
    if start.startswith(b"version https://git-lfs"):
        return " but a Git LFS pointer. Run git lfs pull in its repository."
    return ", the only format that llama.cpp loads. Look for a file whose name ends in .gguf."
