"""Catalog of Replicate models: their inputs, and how to read the inputs of any other model from its schema.

The inputs and ranges come from the models' published input schemas (the API page of each model on replicate.com),
the chat formats from the source code of their predictors; both were read in 2026-11.

>>> sorted(vn.REPLICATE_MULTI_MODAL_LLM_MODELS)
['fuyu-8b', 'llava-13b', 'minigpt-4']
>>> vn.REPLICATE_MULTI_MODAL_LLM_MODELS["llava-13b"].partition(":")[0]
'yorickvp/llava-13b'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from vision_nb.checks.spelling import similar
from vision_nb.errors import SettingsError
from vision_nb.messages import ChatMessage, MessageRole

LENGTH_LIMITS = ("max_new_tokens", "max_tokens", "max_output_tokens", "max_completion_tokens")
"""Input names that Replicate models use for the length limit."""

_REFERENCE = re.compile(r"([\w.-]+)/([\w.-]+)(?::([\w.-]+))?")
_PROMPTS = ("prompt", "question", "query")
_ARTICLES = {"integer": "an integer", "number": "a number"}


@dataclass(frozen=True)
class Parameter:
    """Type and range of a model input.

    Attributes:
        kind: "integer", "number", or "other" for a value that is passed on unchecked.
        minimum: Smallest number allowed; None for no limit.
        maximum: Largest number allowed; None for no limit.
    """

    kind: Literal["integer", "number", "other"] = "other"
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class ChatFormat:
    """Text around each turn when a conversation is written as one prompt.

    Attributes:
        user_prefix: Text before a user message.
        user_suffix: Text after a user message.
        assistant_prefix: Text before an assistant message.
        assistant_suffix: Text after an assistant message.
        added_by_model: Whether the model's own code puts the first ``user_prefix`` and the last
            ``assistant_prefix`` around the prompt.
    """

    user_prefix: str = "User: "
    user_suffix: str = "\n"
    assistant_prefix: str = "Assistant: "
    assistant_suffix: str = "\n"
    added_by_model: bool = False


@dataclass(frozen=True)
class ReplicateModel:
    """Inputs and output of a model version.

    Attributes:
        key: Short name; "owner/name" for a model outside the catalog.
        reference: "owner/name:version".
        parameters: Inputs other than prompt and image; None if unknown, then every parameter is sent.
        length_limit: Name of the input for the length limit; None if there is none.
        streams: Whether the answer can be streamed; None if unknown.
        image: Name of the image input; None if there is none.
        image_required: Whether the image input is required.
        image_is_list: Whether the image input is a list.
        prompt: Name of the prompt input.
        chat_format: How to write a conversation as a prompt.
    """

    key: str
    reference: str
    parameters: Mapping[str, Parameter] | None = None
    length_limit: str | None = None
    streams: bool | None = None
    image: str | None = "image"
    image_required: bool = True
    image_is_list: bool = False
    prompt: str = "prompt"
    chat_format: ChatFormat = field(default_factory=ChatFormat)

    @property
    def version(self) -> str:
        """Return the version's ID."""
        return self.reference.partition(":")[2]


MODELS: tuple[ReplicateModel, ...] = (
    ReplicateModel(
        "llava-13b",
        "yorickvp/llava-13b:e272157381e2a3bf12df3a8edd1f38d1dbd736bbb7437277c8b34175f8fce358",
        parameters={
            "top_p": Parameter("number", 0, 1),
            "temperature": Parameter("number", 0),
            "max_tokens": Parameter("integer", 0),
        },
        length_limit="max_tokens",
        streams=True,
        # predict.py of haotian-liu/LLaVA inserts the prompt as the only question in the template llava_v1.
        chat_format=ChatFormat("USER: ", " ", "ASSISTANT: ", "</s>", added_by_model=True),
    ),
    ReplicateModel(
        "fuyu-8b",
        "lucataco/fuyu-8b:42f23bc876570a46f5a90737086fbc4c3f79dd11753a28eaa39544dd391815e9",
        parameters={"max_new_tokens": Parameter("integer", 0, 2048)},
        length_limit="max_new_tokens",
        streams=False,
    ),
    ReplicateModel(
        "minigpt-4",
        "daanelson/minigpt-4:b96a2f33cc8e4b0aa23eacfce731b9c41a7d9466d9ed4e167375587b54db9423",
        parameters={
            "num_beams": Parameter("integer", 1, 10),
            "temperature": Parameter("number", 0.01, 2),
            "top_p": Parameter("number", 0, 1),
            "repetition_penalty": Parameter("number", 0.01, 5),
            "max_new_tokens": Parameter("integer"),
            "max_length": Parameter("integer"),
        },
        length_limit="max_new_tokens",
        streams=False,
        # conversation.py of daanelson/MiniGPT-4 inserts the prompt as the question of a single turn.
        chat_format=ChatFormat("Human: ", "###", "Assistant: ", "###", added_by_model=True),
    ),
    ReplicateModel(
        "cogvlm",
        "naklecha/cogvlm:ec3886f9ea85dd0aee216585be5e6d07b04c9650f7b8b08363a14eb89e207eb2",
        image_required=False,  # its schema is not confirmed
    ),
)
"""Models with a short name."""

REPLICATE_MULTI_MODAL_LLM_MODELS: dict[str, str] = {
    model.key: model.reference for model in MODELS if model.parameters is not None
}
"""Models whose inputs are known: short name to "owner/name:version"."""


def known_model(name: str) -> ReplicateModel | None:
    """Return the catalog entry for a short name or reference; None for a reference outside the catalog.

    Raises:
        SettingsError: The name is neither a known short name nor a reference.
    """
    for model in MODELS:
        if name in (model.key, model.reference, model.reference.partition(":")[0]):
            return model
    if _REFERENCE.fullmatch(name):
        return None
    keys = [model.key for model in MODELS]
    nearest = similar(name, keys)
    advice = f"Did you mean {nearest!r}?" if nearest else "Use owner/name or owner/name:version for other models."
    raise SettingsError(f"Unknown Replicate model {name[:80]!r} (short names: {', '.join(keys)}). {advice}")


def from_schema(owner_and_name: str, version: str, schema: Mapping[str, Any]) -> ReplicateModel:
    """Read the inputs of a model version from its ``openapi_schema``.

    Args:
        owner_and_name: "owner/name".
        version: The version's ID.
        schema: The OpenAPI schema, with Input and Output in ``components.schemas``.

    Raises:
        SettingsError: The model has no text input.
    """
    schemas = schema.get("components", {}).get("schemas", {})
    properties = {name: _without_null(value) for name, value in schemas.get("Input", {}).get("properties", {}).items()}
    images = [name for name, value in properties.items() if _is_file(value)]
    # Other kinds of files have the same format: prefer an input that is named after an image.
    image = min(images, key=lambda name: (name != "image", "image" not in name), default=None)
    texts = [name for name, value in properties.items() if value.get("type") == "string" and name not in images]
    prompt = next((name for name in (*_PROMPTS, *texts) if name in texts), None)
    if prompt is None:
        raise SettingsError(f"{owner_and_name} has no text input for a prompt: choose another model.")
    parameters = {name: _parameter(value) for name, value in properties.items() if name not in (image, prompt)}
    return ReplicateModel(
        owner_and_name,
        f"{owner_and_name}:{version}",
        parameters=parameters,
        length_limit=next((name for name in LENGTH_LIMITS if name in parameters), None),
        streams=schemas.get("Output", {}).get("type") == "array",
        image=image,
        image_required=image in schemas.get("Input", {}).get("required", ()),
        image_is_list=image is not None and properties[image].get("type") == "array",
        prompt=prompt,
    )


def _without_null(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of an optional property without its null alternative."""
    options = [option for option in value.get("anyOf", ()) if option.get("type") != "null"]
    return {**value, **options[0]} if options else value


def _is_file(value: Mapping[str, Any]) -> bool:
    return "uri" in (value.get("format"), value.get("items", {}).get("format"))


def _parameter(value: Mapping[str, Any]) -> Parameter:
    kind = value.get("type")
    return Parameter(kind, value.get("minimum"), value.get("maximum")) if kind in ("integer", "number") else Parameter()


def inputs_for(model: ReplicateModel, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translate settings to the model's input names.

    Returns:
        The inputs, and the names of the settings that the model does not accept.

    Raises:
        SettingsError: A value has the wrong type or is out of range.
    """
    inputs: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in settings.items():
        own_name = name
        if name in LENGTH_LIMITS and model.length_limit and name not in (model.parameters or {}):
            own_name = model.length_limit
        if model.parameters is None:
            inputs[own_name] = value
        elif own_name in model.parameters:
            _check(model.key, name, value, model.parameters[own_name])
            inputs[own_name] = value
        else:
            dropped.append(name)
    return inputs, dropped


def _check(key: str, name: str, value: Any, parameter: Parameter) -> None:
    if parameter.kind == "other":
        return
    number_type = Integral if parameter.kind == "integer" else Real
    if isinstance(value, bool) or not isinstance(value, number_type):
        raise SettingsError(f"{name} must be {_ARTICLES[parameter.kind]} for {key}, not {value!r:.80}.")
    number, minimum, maximum = float(value), parameter.minimum, parameter.maximum
    if (minimum is None or number >= minimum) and (maximum is None or number <= maximum):
        return
    if maximum is None:
        allowed = f"at least {minimum:g}"
    elif minimum is None:
        allowed = f"at most {maximum:g}"
    else:
        allowed = f"between {minimum:g} and {maximum:g}"
    raise SettingsError(f"{name} must be {allowed} for {key}, not {value!r:.80}.")


def write_prompt(messages: Sequence[ChatMessage], chat_format: ChatFormat) -> str:
    r"""Write a conversation as one prompt; a single question is left unchanged.

    >>> write_prompt([ChatMessage("user", "Hi."), ChatMessage("assistant", "Hi!"), ChatMessage("user", "What?")],
    ...              ChatFormat())
    'User: Hi.\nAssistant: Hi!\nUser: What?\nAssistant:'
    """
    system = [message.text for message in messages if message.role in (MessageRole.SYSTEM, MessageRole.DEVELOPER)]
    turns = [message for message in messages if message.role in (MessageRole.USER, MessageRole.ASSISTANT)]
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0].text])
    conversation = ""
    for message in turns:
        if message.role is MessageRole.USER:
            conversation += f"{chat_format.user_prefix}{message.text}{chat_format.user_suffix}"
        else:
            conversation += f"{chat_format.assistant_prefix}{message.text}{chat_format.assistant_suffix}"
    if chat_format.added_by_model:
        conversation = conversation.removeprefix(chat_format.user_prefix).removesuffix(chat_format.user_suffix)
    else:
        conversation += chat_format.assistant_prefix.rstrip()
    return "\n\n".join([*system, conversation])
