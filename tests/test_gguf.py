"""The header of GGUF files: read whole, and every way in which one can be wrong told apart."""

import struct

import pytest

from vision_nb import errors
from vision_nb.providers.llamacpp.gguf import check_pair, read_header


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    packed = text(value) if kind == 8 else struct.pack({4: "<I", 6: "<f", 7: "<?"}[kind], value)
    return text(key) + struct.pack("<I", kind) + packed


def array(key, kind, values):
    packed = b"".join(text(value) if kind == 8 else struct.pack("<f", value) for value in values)
    return text(key) + struct.pack("<IIQ", 9, kind, len(values)) + packed


def gguf(path, entries, tensors=(), *, version=3, weights=None):
    """Write a file by hand; ``tensors`` are (name, shape), of 32-bit numbers."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    offset = 0
    for name, shape in tensors:
        data += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 0, offset)
        count = 1
        for side in shape:
            count *= side
        offset += count * 4
    data += b"\0" * (-len(data) % 32)
    path.write_bytes(data + b"\0" * (offset if weights is None else weights))
    return path


def model(path, length=4096, architecture="llama"):
    vocabulary = array("tokenizer.ggml.tokens", 8, [f"word {n}" for n in range(1000)])
    entries = [
        entry("general.architecture", 8, architecture),
        vocabulary,
        array("tokenizer.ggml.scores", 6, [0.5] * 1000),
        entry(f"{architecture}.embedding_length", 4, length),
    ]
    return read_header(gguf(path, entries, [("token_embd.weight", (8, 8))]))


def mmproj(path, length=4096, kind="mlp"):
    entries = [
        entry("general.architecture", 8, "clip"),
        entry("clip.vision.projection_dim", 4, 768),  # as real files have it, whatever they project to
        entry("clip.projector_type", 8, kind),
    ]
    return read_header(gguf(path, entries, [("mm.2.weight", (16, length))]))


def test_a_pair_that_belongs_together(tmp_path):
    one, other = model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf")
    assert (one.architecture, one.embedding_length) == ("llama", 4096)
    assert (other.architecture, other.projected_length) == ("clip", 4096)
    check_pair(one, other)


def test_an_encoder_of_another_model_is_told_with_both_figures(tmp_path):
    with pytest.raises(errors.ProjectorMismatchError, match=r"5,120 numbers and m.gguf reads 4,096"):
        check_pair(model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf", 5120))


def test_projectors_that_are_not_llavas_are_left_to_the_engine(tmp_path):
    check_pair(model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf", 5120, kind="ldp"))


@pytest.mark.parametrize(
    "kinds, words",
    [
        (("clip", "llama"), "swap model= and mmproj="),
        (("clip", "clip"), "is an image encoder: model= takes"),
        (("llama", "llama"), "is no image encoder but a text model"),
    ],
)
def test_files_in_the_wrong_place(tmp_path, kinds, words):
    headers = [model(tmp_path / f"{place}.gguf", architecture=kind) for place, kind in enumerate(kinds)]
    with pytest.raises(errors.ModelFileError, match=words):
        check_pair(*headers)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "it is empty"),
        (b"<!doctype html><html>", "web page: an address with /blob/"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"PK\x03\x04pytorch_model", "llama.cpp loads no other format"),
        (b"GGUF", "breaks off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), "breaks off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "breaks off or is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60), "breaks off or is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 77), "breaks off or is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "breaks off or is damaged"),
        (b"GGUF" + struct.pack("<I", 1), "GGUF version 1"),
        (b"GGUF" + struct.pack(">I", 3), "GGUF version 50331648"),
    ],
    ids=range(13),
)
def test_what_is_no_gguf_file_says_what_it_is(tmp_path, data, words):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(errors.ModelFileError, match=words):
        read_header(path)


@pytest.mark.parametrize("length", range(4, 200, 7))
def test_a_header_that_breaks_off_anywhere_is_an_error_of_ours(tmp_path, length):
    model(tmp_path / "m.gguf")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "m.gguf").read_bytes()[:length])
    with pytest.raises(errors.ModelFileError):
        read_header(tmp_path / "cut.gguf")


def test_weights_that_break_off_are_told_with_the_figures(tmp_path):
    path = gguf(tmp_path / "m.gguf", [entry("general.architecture", 8, "llama")], [("w", (100, 100))], weights=39_999)
    with pytest.raises(errors.ModelFileError, match=r"breaks off: it has 40,\d\d\d bytes .* at least 40,\d\d\d"):
        read_header(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no model file .*nothing.gguf: check the path"):
        read_header(tmp_path / "nothing.gguf")
    with pytest.raises(errors.ModelFileNotFoundError):
        read_header(tmp_path)
