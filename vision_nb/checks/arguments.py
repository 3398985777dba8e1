"""Errors for wrong arguments that name the right ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar

from vision_nb.checks.argument_types import wrong_type
from vision_nb.checks.spelling import closest, similar
from vision_nb.errors import ArgumentError, VisionError
from vision_nb.privacy.api_keys import Hidden

F = TypeVar("F", bound=Callable[..., Any])

REQUEST_PARAMETERS = frozenset(
    "temperature max_tokens max_completion_tokens max_output_tokens min_tokens max_length top_p top_k top_a min_p seed "
    "stop n presence_penalty frequency_penalty repetition_penalty length_penalty logit_bias logprobs top_logprobs "
    "response_format reasoning reasoning_effort include_reasoning thinking verbosity service_tier user metadata store "
    "tools tool_choice parallel_tool_calls modalities prediction extra_body extra_headers extra_query timeout stream "
    "stream_options num_beams prompt_cache_key safety_identifier web_search_options instructions system_prompt "
    "text truncation include background".split()
)
"""Common parameters of the providers' APIs; others are passed on too, unless they look like one that is misspelled."""

IMAGE_ARGUMENTS = frozenset({"image", "images", "image_documents", "image_url", "image_urls", "image_path"})
"""What users may call the images of a call."""

_MODEL_OPTIONS = ("temperature", "max_new_tokens", "image_detail", "timeout", "api_key", "api_base", "max_retries")
_LOADING_OPTIONS = ("recursive", "pages", "dpi", "password", "every_s", "frames", "storage_options")
_TYPO = 0.9  # similarity: "min_new_tokens" and "reasoning_format" are parameters of their own
_MAX_LISTED = 120  # characters of a list of names


def checks_arguments(target: F) -> F:
    """Decorate a function or class: wrong arguments raise ArgumentError, which names the right ones.

    Nothing is checked before a call fails, so that it costs nothing.
    """
    if isinstance(target, type):
        target.__init__ = checks_arguments(target.__init__)  # type: ignore[misc] # the class's own
        return target
    if inspect.iscoroutinefunction(target):

        @wraps(target)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            given = Hidden((args, kwargs))
            del args, kwargs  # a traceback may show local variables
            try:
                return await target(*given.value[0], **given.value[1])
            except Exception as error:
                if (better := _explained(error, target, *given.value)) is error:
                    raise
            raise better

        return acall  # type: ignore[return-value] # it has the same signature

    @wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = Hidden((args, kwargs))
        del args, kwargs  # a traceback may show local variables
        try:
            return target(*given.value[0], **given.value[1])
        except Exception as error:
            if (better := _explained(error, target, *given.value)) is error:
                raise
        raise better

    return call  # type: ignore[return-value] # it has the same signature


def check_methods(owner: type, names: Iterable[str]) -> None:
    """Apply `checks_arguments` to methods that a class defines.

    Args:
        owner: The class.
        names: The names of its own attributes that are checked if they are methods.
    """
    for name in names:
        method = vars(owner)[name]
        function = method.__func__ if isinstance(method, (classmethod, staticmethod)) else method
        if inspect.isfunction(function) and not hasattr(function, "__wrapped__"):  # @dataclass may copy a class
            checked = checks_arguments(function)
            setattr(owner, name, checked if function is method else type(method)(checked))


def check_request_parameters(names: Iterable[str], arguments: Sequence[str]) -> None:
    """Raise ArgumentError if a request parameter looks like a misspelled one, or like an argument of the call.

    Args:
        names: The parameters that a call passes on to the provider.
        arguments: The names of the call's own arguments.
    """
    known = (*arguments, "max_new_tokens", "image_detail", *REQUEST_PARAMETERS)
    for name in set(names).difference(known):
        if name in IMAGE_ARGUMENTS:
            guess = next((one for one in arguments if one in IMAGE_ARGUMENTS), None)
        else:
            guess = "image_detail" if name == "detail" else similar(name, known, _TYPO)
        if guess is not None:
            raise ArgumentError(f"A call has no argument {name:.80}=: did you mean {guess}=?")
        if name in ("system", "system_message"):
            raise ArgumentError(f"A call has no argument {name}=: use vn.Chat(llm, system=...).")


def check_options(owner: type, names: Iterable[str]) -> None:
    """Raise ArgumentError if a class has no argument with one of the names.

    Args:
        owner: The class.
        names: The names of the arguments.
    """
    known = _with_options([], owner)
    for name in names:
        if name not in known:
            raise unknown_argument(owner.__name__, name, known)


def unknown_argument(callee: str, name: str, known: Sequence[str]) -> ArgumentError:
    """Return the error for an argument that does not exist.

    Args:
        callee: What was called.
        name: The name of the argument.
        known: The names of the arguments that exist.
    """
    guess, option = closest(name, known), closest(name, _MODEL_OPTIONS)
    if name in _LOADING_OPTIONS and not IMAGE_ARGUMENTS.isdisjoint(known):
        advice = f"pass vn.load_images(..., {name}=...)."
    elif guess is not None:
        advice = f"did you mean {guess}=?"
    elif "additional_kwargs" in known and name in REQUEST_PARAMETERS:
        advice = f"pass it to a call, or as additional_kwargs={{{name!r}: ...}}."
    elif option is not None and not {"model", "models", "llm"}.isdisjoint(known):
        advice = f"set it for the model, with vn.connect(NAME, {option}=...)."
    elif name.startswith("system"):
        advice = "use vn.Chat(llm, system=...)."
    else:
        advice = f"use {_listed(known)}." if known else "omit it."
    return ArgumentError(f"{callee} has no argument {name:.80}=: {advice}")


def _explained(error: Exception, function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Exception:
    """Return the error about arguments that do not fit a function's signature, or else the given one."""
    if isinstance(error, VisionError):
        return error
    parameters, given = list(inspect.signature(function).parameters.values()), args
    callee, plain_name, owner = f"{function.__name__}()", function.__name__, None
    if plain_name == "__init__":
        owner = type(args[0])
        callee = plain_name = owner.__name__
    if parameters and parameters[0].name in ("self", "cls"):
        parameters, args = parameters[1:], args[1:]
    kinds = {one.kind for one in parameters}
    by_position = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    by_name = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    known = [*by_position, *by_name]
    for name in kwargs:
        if name not in known and inspect.Parameter.VAR_KEYWORD not in kinds:
            if not known and inspect.Parameter.VAR_POSITIONAL in kinds:
                return ArgumentError(f"{callee} takes its arguments without names: omit {name:.80}=.")
            return unknown_argument(callee, name, _with_options(known, owner))
        if name in by_position[: len(args)]:
            return ArgumentError(f"{callee} got {name} twice: omit {name}=.")
    if len(args) > len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        allowed = f"only {' and '.join(by_position)} as" if by_position else "no"
        rest = "omit the others." if by_position else f"write {plain_name}()."
        advice = f"write {plain_name}({', '.join([*by_position, by_name[0]])}=...)." if by_name else rest
        if by_position == ["messages"]:
            advice = f"for a prompt with images, use {plain_name.replace('chat', 'complete')}()."
        return ArgumentError(f"{callee} takes {allowed} positional arguments: {advice}")
    required = [one.name for one in parameters if one.default is one.empty and one.name in known]
    missing = [name for name in required if name not in by_position[: len(args)] and name not in kwargs]
    if missing:
        shown = [name if name in by_position else f"{name}=..." for name in required]
        return ArgumentError(f"{callee} needs {' and '.join(missing)}: write {plain_name}({', '.join(shown)}).")
    return wrong_type(function, given, kwargs) or error


def _with_options(known: list[str], owner: type | None) -> list[str]:
    """Return the names of a class's arguments with those of its subclass, which passes its options on."""
    if owner is None:
        return known
    initializers = [vars(kind).get("__init__") for kind in owner.__mro__ if kind.__module__.startswith("vision_nb.")]
    parameters = [one for init in initializers if init for one in list(inspect.signature(init).parameters.values())[1:]]
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return list(dict.fromkeys([*known, *(one.name for one in parameters if one.kind not in rest)]))


def _listed(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _MAX_LISTED else f"{text[:_MAX_LISTED].rpartition(',')[0]} ..."
