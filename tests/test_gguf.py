"""Headers of GGUF files are read, and each kind of unusable file has its own message."""

import math
import struct
import sys
import time

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
    """Write a GGUF file; ``tensors`` are (name, shape) of 32-bit floats."""
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    offset = 0
    for name, shape in tensors:
        data += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 0, offset)
        offset += math.prod(shape) * 4
    data += b"\0" * (-len(data) % 32)
    path.write_bytes(data + b"\0" * (offset if weights is None else weights))
    return path


def model(path, length=4096, architecture="llama", tokens=1000):
    entries = [
        entry("general.architecture", 8, architecture),
        array("tokenizer.ggml.tokens", 8, [f"word {n}" for n in range(tokens)]),
        array("tokenizer.ggml.scores", 6, [0.5] * tokens),
        entry(f"{architecture}.embedding_length", 4, length),
    ]
    return read_header(gguf(path, entries, [("token_embd.weight", (8, 8))]))


def mmproj(path, length=4096, kind="mlp"):
    entries = [
        entry("general.architecture", 8, "clip"),
        entry("clip.vision.projection_dim", 4, 768),  # as in real files, whatever they project to
        entry("clip.projector_type", 8, kind),
    ]
    return read_header(gguf(path, entries, [("mm.2.weight", (16, length))]))


def test_a_matching_pair_is_accepted(tmp_path):
    one, other = model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf")
    assert (one.architecture, one.embedding_length) == ("llama", 4096)
    assert (other.architecture, other.projected_length) == ("clip", 4096)
    check_pair(one, other)


def test_an_encoder_of_another_model_is_rejected_with_both_lengths(tmp_path):
    with pytest.raises(errors.ProjectorMismatchError, match=r"length 5,120, but m.gguf expects 4,096"):
        check_pair(model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf", 5120))


def test_projectors_other_than_llavas_are_not_checked(tmp_path):
    check_pair(model(tmp_path / "m.gguf"), mmproj(tmp_path / "p.gguf", 5120, kind="ldp"))


@pytest.mark.parametrize(
    "kinds, words",
    [
        (("clip", "llama"), "swap model= and mmproj="),
        (("clip", "clip"), "is an image encoder: model= must be the text model"),
        (("llama", "llama"), "is a text model .llama., not an image encoder"),
    ],
)
def test_files_of_the_wrong_kind_are_rejected(tmp_path, kinds, words):
    headers = [model(tmp_path / f"{place}.gguf", architecture=kind) for place, kind in enumerate(kinds)]
    with pytest.raises(errors.ModelFileError, match=words):
        check_pair(*headers)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "it is empty"),
        (b"<!doctype html><html>", "web page. A URL with /blob/"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04pytorch_model", "the only format that llama.cpp loads"),
        (b"GGUF", "incomplete or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), "incomplete or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "incomplete or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60), "incomplete or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 77), "incomplete or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1), "incomplete or damaged"),
        (b"GGUF" + struct.pack("<I", 1), "version 1 "),
    ],
    ids=range(12),
)
def test_the_error_for_another_file_says_what_it_is(tmp_path, data, words):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(errors.ModelFileError, match=words):
        read_header(path)


@pytest.mark.parametrize("length", range(4, 200, 7))
def test_a_truncated_header_is_a_model_file_error(tmp_path, length):
    model(tmp_path / "m.gguf")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "m.gguf").read_bytes()[:length])
    with pytest.raises(errors.ModelFileError):
        read_header(tmp_path / "cut.gguf")


def test_truncated_weights_are_a_model_file_error(tmp_path):
    path = gguf(tmp_path / "m.gguf", [entry("general.architecture", 8, "llama")], [("w", (100, 100))], weights=39_999)
    with pytest.raises(errors.ModelFileError, match="is incomplete or damaged"):
        read_header(path)


def test_a_quantization_newer_than_the_gguf_package_says_to_upgrade(tmp_path):
    data = gguf(tmp_path / "m.gguf", [entry("general.architecture", 8, "llama")], [("w", (8, 8))]).read_bytes()
    kind = data.index(struct.pack("<QQ", 8, 8)) + 16
    (tmp_path / "new.gguf").write_bytes(data[:kind] + struct.pack("<I", 999) + data[kind + 4 :])
    with pytest.raises(errors.ModelFileError, match=r"newer than the installed gguf package .*999.*upgrade gguf"):
        read_header(tmp_path / "new.gguf")


def test_a_large_vocabulary_is_skipped_quickly(tmp_path):
    path = model(tmp_path / "m.gguf", tokens=150_000).path
    started = time.process_time()
    assert read_header(path).embedding_length == 4096
    assert time.process_time() - started < 2  # 0.1 s; 6 s if the tokens are read


def test_without_the_gguf_package_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "vision_nb.providers.llamacpp.gguf_reader", raising=False)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(errors.EngineMissingError, match=r'pip install "vision-nb\[local\]"'):
        read_header(tmp_path / "m.gguf")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Model file .*nothing.gguf not found: check the path"):
        read_header(tmp_path / "nothing.gguf")
    with pytest.raises(errors.ModelFileNotFoundError):
        read_header(tmp_path)
