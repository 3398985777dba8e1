"""What the models on Replicate take: a table of the known ones, and how any other's schema is read. Pure.

The table's inputs and ranges are the models' published input schemas (replicate.com, each model's API page),
its turn formats their predictors' sources; both were read 2026-11.

>>> sorted(vn.REPLICATE_MULTI_MODAL_LLM_MODELS)
['fuyu-8b', 'llava-13b', 'minigpt-4']
>>> vn.REPLICATE_MULTI_MODAL_LLM_MODELS["llava-13b"].partition(":")[0]
'yorickvp/llava-13b'
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal

from vision_nb.errors import SettingsError
from vision_nb.messages import ChatMessage, MessageRole

LENGTH_LIMITS = ("max_new_tokens", "max_tokens", "max_output_tokens", "max_completion_tokens")
"""The names under which models on Replicate know the length limit."""

_REFERENCE = re.compile(r"([\w.-]+)/([\w.-]+)(?::([\w.-]+))?")
_PROMPTS = ("prompt", "question", "query")


@dataclass(frozen=True)
class Parameter:
    """What values an input takes.

    Attributes:
        kind: "integer", "number", or "other" for what is no number and is passed on unchecked.
        least: The smallest number; None where there is no limit.
        most: The largest number; None where there is no limit.
    """

    kind: Literal["integer", "number", "other"] = "other"
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class TurnFormat:
    """How a conversation is written into a prompt.

    Attributes:
        user: What stands before the user's words.
        after_user: What stands behind them.
        assistant: What stands before the model's words.
        after_assistant: What stands behind them.
        framed: Whether the model itself puts ``user`` before the whole prompt and ``assistant`` behind it.
    """

    user: str = "User: "
    after_user: str = "\n"
    assistant: str = "Assistant: "
    after_assistant: str = "\n"
    framed: bool = False


@dataclass(frozen=True)
class ReplicateModel:
    """What a model takes and gives.

    Attributes:
        key: Its short name here; the reference where it has none.
        reference: "owner/name:version".
        parameters: Its inputs beside prompt and picture; None where they are not known, and whatever the user
            names is sent.
        length_limit: The name of its input for the length limit; None where it has none.
        streams: Whether its answer comes in pieces; None where that is not known.
        image: The name of its input for the picture; None where it takes none.
        image_required: Whether it refuses to answer without a picture.
        image_is_list: Whether that input is a list of pictures.
        prompt: The name of its input for the question.
        turns: How a conversation is written into its prompt.
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
    turns: TurnFormat = field(default_factory=TurnFormat)

    @property
    def version(self) -> str:
        """The version's id."""
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
        # predict.py of haotian-liu/LLaVA puts the prompt into the template llava_v1, as its one question
        turns=TurnFormat("USER: ", " ", "ASSISTANT: ", "</s>", framed=True),
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
        # conversation.py of daanelson/MiniGPT-4: the prompt is the question of one turn that is set up there
        turns=TurnFormat("Human: ", "###", "Assistant: ", "###", framed=True),
    ),
    ReplicateModel(
        "cogvlm",
        "naklecha/cogvlm:ec3886f9ea85dd0aee216585be5e6d07b04c9650f7b8b08363a14eb89e207eb2",
        image_required=False,  # its schema is not confirmed
    ),
)
"""The models that are known by a short name."""

REPLICATE_MULTI_MODAL_LLM_MODELS: dict[str, str] = {
    model.key: model.reference for model in MODELS if model.parameters is not None
}
"""The models whose inputs are known, as short name to "owner/name:version"."""


def known_model(name: str) -> ReplicateModel | None:
    """The table's row for a key, "owner/name" or full reference; None for a reference that is not in it.

    Raises:
        SettingsError: The name is neither a key nor a reference.
    """
    for model in MODELS:
        if name in (model.key, model.reference, model.reference.partition(":")[0]):
            return model
    if _REFERENCE.fullmatch(name):
        return None
    keys = [model.key for model in MODELS]
    nearest = get_close_matches(name, keys, n=1)
    guess = f"did you mean {nearest[0]!r}?" if nearest else "write owner/name or owner/name:version for any other."
    raise SettingsError(f"There is no Replicate model {name!r} (known by name: {', '.join(keys)}): {guess}")


def from_schema(owner_and_name: str, version: str, schema: Mapping[str, Any]) -> ReplicateModel:
    """Read what a model takes from its version's ``openapi_schema``.

    Args:
        owner_and_name: "owner/name".
        version: The version's id.
        schema: The schema, with Input and Output among its ``components.schemas``.

    Raises:
        SettingsError: It has no input for a text.
    """
    schemas = schema.get("components", {}).get("schemas", {})
    properties = {name: _plain(value) for name, value in schemas.get("Input", {}).get("properties", {}).items()}
    images = [name for name, value in properties.items() if _is_picture(value)]
    image = next(iter(sorted(images, key=_unlikeness)), None)
    texts = [name for name, value in properties.items() if value.get("type") == "string" and name not in images]
    prompt = next((name for name in (*_PROMPTS, *texts) if name in texts), None)
    if prompt is None:
        raise SettingsError(f"{owner_and_name} takes no text, so it cannot be asked: choose another model.")
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


def _plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's schema without the wrapping that makes it optional."""
    real = [option for option in value.get("anyOf", ()) if option.get("type") != "null"]
    return {**value, **real[0]} if real else value


def _is_picture(value: Mapping[str, Any]) -> bool:
    return "uri" in (value.get("format"), value.get("items", {}).get("format"))


def _unlikeness(name: str) -> int:
    """How little a name says that a picture is meant; files of other kinds have the same format."""
    return 0 if name == "image" else 1 if "image" in name else 2


def _parameter(value: Mapping[str, Any]) -> Parameter:
    kind = value.get("type")
    if kind == "integer":
        return Parameter("integer", value.get("minimum"), value.get("maximum"))
    if kind == "number":
        return Parameter("number", value.get("minimum"), value.get("maximum"))
    return Parameter()


def inputs_for(model: ReplicateModel, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings under the model's own names, and the names of those that it does not take.

    Raises:
        SettingsError: A value is no number where one is needed, or out of range.
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
    kind, least, most = parameter.kind, parameter.least, parameter.most
    if kind == "other":
        return
    if isinstance(value, bool) or not isinstance(value, Integral if kind == "integer" else Real):
        wanted = "a whole number" if kind == "integer" else "a number"
        raise SettingsError(f"{key} takes {wanted} as {name}, and {value!r} is none: give another value.")
    number = float(value)
    if (least is None or number >= least) and (most is None or number <= most):
        return
    if most is None:
        allowed = f"of at least {least:g}"
    elif least is None:
        allowed = f"of at most {most:g}"
    else:
        allowed = f"from {least:g} to {most:g}"
    raise SettingsError(f"{key} takes {name} {allowed}, and got {value!r}: choose a value in that range.")


def prompt_of(messages: Sequence[ChatMessage], turns: TurnFormat) -> str:
    r"""Write a conversation as one prompt; a single question stays as it is.

    >>> prompt_of([ChatMessage("user", "Hi."), ChatMessage("assistant", "Hi!"), ChatMessage("user", "What?")],
    ...           TurnFormat())
    'User: Hi.\nAssistant: Hi!\nUser: What?\nAssistant:'
    """
    system = [message.text for message in messages if message.role in (MessageRole.SYSTEM, MessageRole.DEVELOPER)]
    spoken = [message for message in messages if message.role in (MessageRole.USER, MessageRole.ASSISTANT)]
    if len(spoken) == 1:
        return "\n\n".join([*system, spoken[0].text])
    conversation = ""
    for message in spoken:
        if message.role is MessageRole.USER:
            conversation += f"{turns.user}{message.text}{turns.after_user}"
        else:
            conversation += f"{turns.assistant}{message.text}{turns.after_assistant}"
    if turns.framed:
        conversation = conversation.removeprefix(turns.user).removesuffix(turns.after_user)
    else:
        conversation += turns.assistant.rstrip()
    return "\n\n".join([*system, conversation])
