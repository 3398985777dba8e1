"""The header of a GGUF file: what it is, and whether two of them belong together. The weights are not read.

The format is that of the ggml project's specification (docs/gguf.md, versions 2 and 3; read 2026-11).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vision_nb.errors import ModelFileError, ModelFileNotFoundError, ProjectorMismatchError

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_BYTES_EACH = {0: 4, 1: 2, 30: 2}  # of a number in a tensor, for the types that are not packed in blocks
_ALIGNMENT = 32  # bytes, unless the file says otherwise
_LONGEST_NAME = 1 << 20  # bytes; more is no name but a broken file
_MOST_ENTRIES = 1 << 20


@dataclass(frozen=True)
class GgufHeader:
    """What stands at the beginning of a GGUF file.

    Attributes:
        path: The file.
        metadata: Its keys and values; arrays, such as the vocabulary, are left out.
        shapes: The dimensions of each tensor, the fastest first, as ggml stores them.
    """

    path: Path
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """Such as "llama", or "clip" for an image encoder."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def embedding_length(self) -> int | None:
        """The length of a token's vector in a text model, or None where the file does not say."""
        value = self.metadata.get(f"{self.architecture}.embedding_length")
        return value if isinstance(value, int) else None

    @property
    def projected_length(self) -> int | None:
        """The length of the vectors that LLaVA's projector makes of a picture, or None for other projectors.

        ``clip.vision.projection_dim`` does not tell it: real files carry CLIP's own 768 there.
        """
        kind = self.metadata.get("clip.projector_type", "mlp")
        shape = self.shapes.get("mm.2.weight", ())
        return shape[1] if kind == "mlp" and len(shape) == 2 else None


def read_header(path: Path) -> GgufHeader:
    """Read a file's header.

    Raises:
        ModelFileNotFoundError: There is no such file.
        ModelFileError: It is no GGUF file, or breaks off within its header.
    """
    if not path.is_file():
        raise ModelFileNotFoundError(f"There is no model file {path}: check the path, or download it first.")
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except (struct.error, UnicodeDecodeError, ArithmeticError, TypeError) as error:
        raise ModelFileError(f"{path.name} breaks off or is damaged within its header: download it again.") from error
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def check_pair(model: GgufHeader, mmproj: GgufHeader) -> None:
    """Check that two files are a text model and the image encoder that was made for it.

    Raises:
        ModelFileError: One of them is of the wrong kind.
        ProjectorMismatchError: The encoder was made for another text model.
    """
    if model.architecture == "clip" and mmproj.architecture != "clip":
        raise ModelFileError(
            f"{model.path.name} is the image encoder and {mmproj.path.name} the text model: swap model= and mmproj=."
        )
    if model.architecture == "clip":
        raise ModelFileError(f"{model.path.name} is an image encoder: model= takes the text model's file.")
    if mmproj.architecture != "clip":
        raise ModelFileError(
            f"{mmproj.path.name} is no image encoder but a text model ({mmproj.architecture or 'of unknown kind'}): "
            "mmproj= takes the file whose name begins with mmproj."
        )
    made, needed = mmproj.projected_length, model.embedding_length
    if made is not None and needed is not None and made != needed:
        raise ProjectorMismatchError(
            f"{mmproj.path.name} makes vectors of {made:,} numbers and {model.path.name} reads {needed:,}: it is the "
            "image encoder of another model. Take the mmproj file from where the model comes from."
        )


def _read(path: Path, file: BinaryIO) -> GgufHeader:
    start = file.read(64)
    if not start.startswith(_MAGIC):
        raise ModelFileError(f"{path.name} is no GGUF file{_what_instead(start)}")
    file.seek(len(_MAGIC))
    (version,) = _unpack(file, "I")
    if version not in (2, 3):
        raise ModelFileError(f"{path.name} has GGUF version {version}, and 2 and 3 are known: convert it anew.")
    tensors, entries = _unpack(file, "QQ")
    if max(tensors, entries) > _MOST_ENTRIES:
        raise struct.error("more entries than a file can have")
    metadata = {}
    for _ in range(entries):
        key = _string(file)
        value = _value(file, *_unpack(file, "I"))
        if value is not None:
            metadata[key] = value
    shapes, length = {}, 0
    for _ in range(tensors):
        name = _string(file)
        (dimensions,) = _unpack(file, "I")
        if dimensions > 8:
            raise struct.error("more dimensions than a tensor can have")
        shapes[name] = tuple(_unpack(file, f"{dimensions}Q"))
        kind, offset = _unpack(file, "IQ")
        length = max(length, offset + math.prod(shapes[name]) * _BYTES_EACH.get(kind, 0))
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    start_of_weights = math.ceil(file.tell() / alignment) * alignment
    if path.stat().st_size < start_of_weights + length:
        raise ModelFileError(
            f"{path.name} breaks off: it has {path.stat().st_size:,} bytes and its weights need at least "
            f"{start_of_weights + length:,}. Download it again."
        )
    return GgufHeader(path, metadata, shapes)


def _what_instead(start: bytes) -> str:
    if not start:
        return ": it is empty. Download it again."
    if start.lstrip()[:1] == b"<":
        return (
            " but a web page: an address with /blob/ in it leads to the page about a file, and the same address "
            "with /resolve/ to the file."
        )
    if start.startswith(b"version https://git-lfs"):
        return " but a pointer of Git LFS: run git lfs pull where it comes from."
    return ": llama.cpp loads no other format. Look for a file that ends in .gguf."


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _string(file: BinaryIO) -> str:
    return _bytes(file).decode()


def _bytes(file: BinaryIO) -> bytes:
    (length,) = _unpack(file, "Q")
    if length > _LONGEST_NAME:
        raise struct.error("longer than a text can be")
    data = file.read(length)
    if len(data) < length:
        raise struct.error("the file breaks off")
    return data


def _value(file: BinaryIO, kind: int) -> Any:
    """A value; None in place of an array, which is passed over."""
    if kind == _STRING:
        return _bytes(file).decode("utf-8", "replace")
    if kind == _ARRAY:
        _skip_array(file)
        return None
    if kind not in _NUMBERS:
        raise struct.error(f"no type {kind}")
    (value,) = _unpack(file, _NUMBERS[kind])
    return value


def _skip_array(file: BinaryIO) -> None:
    kind, length = _unpack(file, "IQ")
    if kind in _NUMBERS:
        size = struct.calcsize(f"<{_NUMBERS[kind]}") * length
        file.seek(size, 1)
    elif kind == _STRING:
        for _ in range(length):
            _bytes(file)
    else:
        raise struct.error(f"no array of type {kind}")
