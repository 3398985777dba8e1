"""Write a pair of GGUF files with LLaVA 1.5's structure and random weights, for the real llama.cpp engine.

The pair has about 1 MB instead of 4.7 GB. Everything is real, including 576 tokens per image, but the answers are noise.

Run: python -m tests.tiny_models FOLDER
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

EMBEDDING, FEED_FORWARD, BLOCKS, HEADS = 64, 128, 2, 4
IMAGE_SIDE, PATCH = 336, 14
POSITIONS = (IMAGE_SIDE // PATCH) ** 2 + 1  # the patches and the class token
WORDS = "the a picture of sky is blue and red with people on street in there are no yes it llama".split()


def write_pair(folder, *, embedding=EMBEDDING):
    """Write model.gguf and mmproj.gguf to a folder, and return both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model, mmproj = folder / "model.gguf", folder / "mmproj.gguf"
    write_model(model, embedding=embedding)
    write_mmproj(mmproj, embedding=embedding)
    return model, mmproj


def write_model(path, *, embedding=EMBEDDING, chat_template=None):
    """Write a LLaMA with two blocks, and a vocabulary of bytes and a few words."""
    tokens, scores, types = _vocabulary()
    writer = GGUFWriter(str(path), "llama")
    writer.add_name("tiny llava")
    writer.add_context_length(4096)
    writer.add_embedding_length(embedding)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(embedding // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(0)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    weights = _Weights(writer)
    weights.add("token_embd.weight", len(tokens), embedding)
    weights.ones("output_norm.weight", embedding)
    weights.add("output.weight", len(tokens), embedding)
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.add(f"blk.{block}.{name}.weight", embedding, embedding)
        weights.ones(f"blk.{block}.attn_norm.weight", embedding)
        weights.ones(f"blk.{block}.ffn_norm.weight", embedding)
        weights.add(f"blk.{block}.ffn_gate.weight", FEED_FORWARD, embedding)
        weights.add(f"blk.{block}.ffn_up.weight", FEED_FORWARD, embedding)
        weights.add(f"blk.{block}.ffn_down.weight", embedding, FEED_FORWARD)
    _save(writer)


def write_mmproj(path, *, embedding=EMBEDDING):
    """Write a CLIP encoder with two blocks and LLaVA's projector for a text model with ``embedding`` dimensions."""
    writer = GGUFWriter(str(path), "clip")
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", False)
    writer.add_uint32("clip.vision.image_size", IMAGE_SIDE)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_uint32("clip.vision.embedding_length", EMBEDDING)
    writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
    writer.add_uint32("clip.vision.projection_dim", embedding)
    writer.add_uint32("clip.vision.block_count", BLOCKS)
    writer.add_uint32("clip.vision.attention.head_count", HEADS)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.48, 0.46, 0.41])
    writer.add_array("clip.vision.image_std", [0.27, 0.26, 0.28])
    weights = _Weights(writer)
    weights.add("v.class_embd", EMBEDDING)
    weights.add("v.patch_embd.weight", EMBEDDING, 3, PATCH, PATCH)
    weights.add("v.position_embd.weight", POSITIONS, EMBEDDING)
    for name in ("v.pre_ln", "v.post_ln"):
        weights.norm(name, EMBEDDING)
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"v.blk.{block}.{name}", EMBEDDING, EMBEDDING)
        weights.norm(f"v.blk.{block}.ln1", EMBEDDING)
        weights.norm(f"v.blk.{block}.ln2", EMBEDDING)
        weights.linear(f"v.blk.{block}.ffn_down", FEED_FORWARD, EMBEDDING)
        weights.linear(f"v.blk.{block}.ffn_up", EMBEDDING, FEED_FORWARD)
    weights.linear("mm.0", embedding, EMBEDDING)
    weights.linear("mm.2", embedding, embedding)
    _save(writer)


class _Weights:
    """Add tensors of small random numbers, the same in every run."""

    def __init__(self, writer):
        self._writer, self._random = writer, np.random.default_rng(7)

    def add(self, name, *shape):
        self._writer.add_tensor(name, self._random.normal(0, 0.3, shape).astype(np.float32))

    def ones(self, name, size):
        self._writer.add_tensor(name, np.ones(size, np.float32))

    def norm(self, name, size):
        self.ones(f"{name}.weight", size)
        self._writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))

    def linear(self, name, rows, columns):
        self.add(f"{name}.weight", rows, columns)
        self._writer.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))


def _vocabulary():
    special = [(b"<unk>", TokenType.UNKNOWN), (b"<s>", TokenType.CONTROL), (b"</s>", TokenType.CONTROL)]
    of_bytes = [(f"<0x{value:02X}>".encode(), TokenType.BYTE) for value in range(256)]
    words = [(f"\u2581{word}".encode(), TokenType.NORMAL) for word in WORDS]
    # As in LLaMA's vocabulary, the space before a text can join its first letters.
    spaces = [(text.encode(), TokenType.NORMAL) for text in ("\u2581", "\u2581A", "\u2581U", "SS")]
    entries = special + of_bytes + words + spaces
    return [text for text, _ in entries], [0.0] * len(entries), [kind for _, kind in entries]


def _save(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for written in write_pair(sys.argv[1]):
        print(f"{written}: {written.stat().st_size / 1e6:.2f} MB")
