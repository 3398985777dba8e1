"""Write pairs of GGUF files with the structure of known models and random weights, for the real llama.cpp engine.

A pair has about 1 MB. Everything is real, including the number of tokens per image, but the answers are noise.

Run: python -m tests.tiny_models SHAPE FOLDER
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

EMBEDDING, FEED_FORWARD, BLOCKS, HEADS = 64, 128, 2, 4
NOT_ENDING = {"logit_bias": {"2": -100}}  # the token that ends an answer, which can be an answer's first
WORDS = "the a picture of sky is blue and red with people on street in there are no yes it llama".split()

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """The structure of a model: what its files say about it, besides the weights."""

    architecture: str
    projector: str
    image_side: int
    patch: int
    merge: int = 1  # patches on each side that the projector joins into one token
    projector_key: str = ""
    template: str | None = None
    tokens: tuple[str, ...] = ()
    vision: dict[str, Any] = field(default_factory=dict)


_ROWS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
SHAPES = {
    "llava": Shape("llama", "mlp", 336, 14, projector_key="clip.has_llava_projector"),
    "smolvlm": Shape(
        "llama",
        "idefics3",
        512,
        16,
        merge=4,
        template=SMOLVLM_TEMPLATE,
        tokens=("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "\n\n", *_ROWS),
        vision={"clip.vision.projector.scale_factor": 4, "clip.vision.preproc_image_size": 2048},
    ),
    "qwen2vl": Shape(
        "qwen2vl",
        "qwen2vl_merger",
        560,
        14,
        merge=2,
        projector_key="clip.has_qwen2vl_merger",
        template=CHATML,
        tokens=("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
    ),
}


def write_pair(folder, shape="llava", *, embedding=EMBEDDING):
    """Write model.gguf and mmproj.gguf to a folder, and return both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model, mmproj = folder / "model.gguf", folder / "mmproj.gguf"
    write_model(model, shape, embedding=embedding)
    write_mmproj(mmproj, shape, embedding=embedding)
    return model, mmproj


def write_model(
    path,
    shape="llava",
    *,
    embedding=EMBEDDING,
    blocks=BLOCKS,
    feed_forward=FEED_FORWARD,
    vocabulary=0,
    chat_template=None,
):
    """Write a text model, and a vocabulary of bytes and a few words, filled up to a number of tokens."""
    shape = SHAPES[shape]
    tokens, scores, types = _vocabulary(shape.tokens, vocabulary)
    writer = GGUFWriter(str(path), shape.architecture)
    writer.add_name("tiny model")
    writer.add_context_length(4096)
    writer.add_embedding_length(embedding)
    writer.add_feed_forward_length(feed_forward)
    writer.add_block_count(blocks)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(embedding // HEADS)
    if shape.architecture == "qwen2vl":
        writer.add_rope_dimension_sections([2, 3, 3, 0])
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
    template = chat_template or shape.template
    if template is not None:
        writer.add_chat_template(template)
    weights = _Weights(writer)
    weights.add("token_embd.weight", len(tokens), embedding)
    weights.ones("output_norm.weight", embedding)
    weights.add("output.weight", len(tokens), embedding)
    for block in range(blocks):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.add(f"blk.{block}.{name}.weight", embedding, embedding)
            if shape.architecture == "qwen2vl" and name != "attn_output":
                weights.zeros(f"blk.{block}.{name}.bias", embedding)
        weights.ones(f"blk.{block}.attn_norm.weight", embedding)
        weights.ones(f"blk.{block}.ffn_norm.weight", embedding)
        weights.add(f"blk.{block}.ffn_gate.weight", feed_forward, embedding)
        weights.add(f"blk.{block}.ffn_up.weight", feed_forward, embedding)
        weights.add(f"blk.{block}.ffn_down.weight", embedding, feed_forward)
    _save(writer)


def write_mmproj(path, shape="llava", *, embedding=EMBEDDING):
    """Write an image encoder with two blocks, and a projector for a text model with ``embedding`` dimensions."""
    shape = SHAPES[shape]
    patches = (shape.image_side // shape.patch) ** 2
    writer = GGUFWriter(str(path), "clip")
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    if shape.projector_key:
        writer.add_bool(shape.projector_key, True)
    writer.add_string("clip.projector_type", shape.projector)
    writer.add_bool("clip.use_gelu", shape.projector == "idefics3")
    writer.add_uint32("clip.vision.image_size", shape.image_side)
    writer.add_uint32("clip.vision.patch_size", shape.patch)
    writer.add_uint32("clip.vision.embedding_length", EMBEDDING)
    writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
    writer.add_uint32("clip.vision.projection_dim", embedding)
    writer.add_uint32("clip.vision.block_count", BLOCKS)
    writer.add_uint32("clip.vision.attention.head_count", HEADS)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.48, 0.46, 0.41])
    writer.add_array("clip.vision.image_std", [0.27, 0.26, 0.28])
    for key, value in shape.vision.items():
        writer.add_uint32(key, value)
    weights = _Weights(writer)
    weights.add("v.patch_embd.weight", EMBEDDING, 3, shape.patch, shape.patch)
    joined = EMBEDDING * shape.merge**2
    match shape.projector:
        case "mlp":
            weights.add("v.class_embd", EMBEDDING)
            weights.add("v.position_embd.weight", patches + 1, EMBEDDING)
            weights.norm("v.pre_ln", EMBEDDING)
            weights.linear("mm.0", embedding, EMBEDDING)
            weights.linear("mm.2", embedding, embedding)
        case "idefics3":
            weights.zeros("v.patch_embd.bias", EMBEDDING)
            weights.add("v.position_embd.weight", patches, EMBEDDING)
            weights.add("mm.model.fc.weight", embedding, joined)
        case "qwen2vl_merger":
            weights.add("v.patch_embd.weight.1", EMBEDDING, 3, shape.patch, shape.patch)
            weights.linear("mm.0", joined, joined)
            weights.linear("mm.2", embedding, joined)
    weights.norm("v.post_ln", EMBEDDING)
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"v.blk.{block}.{name}", EMBEDDING, EMBEDDING)
        weights.norm(f"v.blk.{block}.ln1", EMBEDDING)
        weights.norm(f"v.blk.{block}.ln2", EMBEDDING)
        weights.linear(f"v.blk.{block}.ffn_down", FEED_FORWARD, EMBEDDING)
        weights.linear(f"v.blk.{block}.ffn_up", EMBEDDING, FEED_FORWARD)
    _save(writer)


class _Weights:
    """Add tensors of small random numbers, the same in every run."""

    def __init__(self, writer):
        self._writer, self._random = writer, np.random.default_rng(7)

    def add(self, name, *shape):
        self._writer.add_tensor(name, self._random.normal(0, 0.3, shape).astype(np.float32))

    def ones(self, name, size):
        self._writer.add_tensor(name, np.ones(size, np.float32))

    def zeros(self, name, size):
        self._writer.add_tensor(name, np.zeros(size, np.float32))

    def norm(self, name, size):
        self.ones(f"{name}.weight", size)
        self.zeros(f"{name}.bias", size)

    def linear(self, name, rows, columns):
        self.add(f"{name}.weight", rows, columns)
        self.zeros(f"{name}.bias", rows)


def _vocabulary(control, size):
    special = [(b"<unk>", TokenType.UNKNOWN), (b"<s>", TokenType.CONTROL), (b"</s>", TokenType.CONTROL)]
    of_bytes = [(f"<0x{value:02X}>".encode(), TokenType.BYTE) for value in range(256)]
    words = [(f"\u2581{word}".encode(), TokenType.NORMAL) for word in WORDS]
    # As in LLaMA's vocabulary, the space before a text can join its first letters.
    spaces = [(text.encode(), TokenType.NORMAL) for text in ("\u2581", "\u2581A", "\u2581U", "SS")]
    entries = special + of_bytes + words + spaces + [(token.encode(), TokenType.CONTROL) for token in control]
    entries += [(f"word{number}".encode(), TokenType.UNUSED) for number in range(size - len(entries))]
    return [text for text, _ in entries], [0.0] * len(entries), [kind for _, kind in entries]


def _save(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for written in write_pair(sys.argv[2], sys.argv[1]):
        print(f"{written}: {written.stat().st_size / 1e6:.2f} MB")
