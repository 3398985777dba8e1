"""Chat templates: the one in the model's file, or LLaVA 1.5's for files without one."""

from __future__ import annotations

from vision_nb.checks.spelling import similar
from vision_nb.errors import SettingsError
from vision_nb.providers.llamacpp.gguf import GgufHeader

VICUNA = (
    "{% if messages[0].role != 'system' %}A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}"
    "{% elif message.role == 'user' %}{{ '\\n' }}USER: {{ message.content }}"
    "{% else %}{{ '\\n' }}ASSISTANT: {{ message.content }}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n' }}ASSISTANT:{% endif %}"
)
"""The template of Vicuna, LLaVA 1.5's text model, in Jinja; the published files from 2023 contain no template."""

_FORMATS = {"llava-1-5": VICUNA, "llava-1-6": VICUNA, "vicuna": VICUNA}

_FORMER_FORMATS = frozenset(
    "gemma4 llama-3-vision-alpha minicpm-v-2.6 moondream mtmd nanollava obsidian qwen2.5-vl".split()
)
"""Formats of llama-cpp-python. This engine reads the templates of these models from their files."""


def check_chat_format(chat_format: str | None) -> None:
    """Check that a chat format exists.

    Raises:
        SettingsError: It does not exist.
    """
    if chat_format is None or (isinstance(chat_format, str) and (chat_format in _FORMATS or "{" in chat_format)):
        return
    if chat_format in _FORMER_FORMATS:
        raise SettingsError(
            f"chat_format={chat_format!r} is not needed: omit it, and the engine uses the chat template in the model's "
            "file."
        )
    nearest = similar(str(chat_format), _FORMATS)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    raise SettingsError(
        f"chat_format={chat_format!r:.60} does not exist.{hint} Omit it to use the template in the model's "
        f"file, or pass {', '.join(map(repr, _FORMATS))} or the text of a Jinja template."
    )


def chat_template(model: GgufHeader, chat_format: str | None) -> str:
    """Return the Jinja template for a model.

    Args:
        model: The header of the text model.
        chat_format: Name of a format, or a Jinja template; None for the template in the file.
    """
    template = VICUNA if chat_format is None else _FORMATS.get(chat_format, chat_format)
    if chat_format is None and model.chat_template:
        template = model.chat_template
    if not model.adds_space:
        return template
    # To enforce a schema, the engine tokenizes the beginning of the answer, such as "ASSISTANT:". A tokenizer that
    # puts a space before it would break this, so the engine must take the beginning for a part of the question.
    return "{% set add_generation_prompt = true %}" + template
