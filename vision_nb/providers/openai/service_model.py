"""`ServiceMultiModal`: a model of a service that speaks OpenAI's Chat Completions API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.model_reference import nearest_name
from vision_nb.errors import SettingsError
from vision_nb.images.prepare import MAX_BYTES
from vision_nb.privacy.api_keys import hide, hide_arguments
from vision_nb.privacy.urls import redact_url
from vision_nb.project_settings import how_to_trust, is_trusted
from vision_nb.providers.addresses import check_address, is_on_this_machine
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Images, Request
from vision_nb.providers.openai.errors import refuses
from vision_nb.providers.openai.model import OpenAIMultiModal
from vision_nb.providers.openai.responses_api import wire_format_of
from vision_nb.services.registry import find_service
from vision_nb.services.table import Service
from vision_nb.user_warnings import warn_user


@checks_arguments
class ServiceMultiModal(OpenAIMultiModal):
    """A model of a service with OpenAI's Chat Completions API, such as Anthropic, Gemini or OpenRouter, or of your own.

    The services differ in what they accept: types, sizes and number of images, detail levels, URLs, the name of the
    length limit, and parameters. Requests follow a table that has a row for each service.

    Args:
        service: The service's name: "anthropic", "gemini", "openrouter", "mistral", "groq", "together", "xai",
            "fireworks", "deepinfra", "huggingface", "moonshot", "zai", or one added by `register_service`.
        model: The model's name; it is not checked against a list.
        api_key: API key; by default, from the service's environment variable.
        api_base: Base URL of the server; by default, the service's own.
        **options: As for `OpenAIMultiModal`. Images behind URLs are downloaded and sent as data, unless the service is
            known to accept URLs.

    Raises:
        SettingsError: The service does not exist, or an argument is invalid.
        MissingKeyError: The API key is missing.

    >>> from vision_nb.demo import shared_server
    >>> base = shared_server().openai_base  # in place of Anthropic's server
    >>> llm = vn.ServiceMultiModal("anthropic", "claude-sonnet-5", api_key="demo", api_base=base)
    >>> print(llm, llm.complete("How large is it?", vn.samples.path("chart")).finish_reason)
    anthropic:claude-sonnet-5 stop
    """

    def __init__(
        self, service: str, model: str, api_key: str | None = None, api_base: str | None = None, **options: Any
    ) -> None:
        # First of all: a traceback may show the arguments.
        api_key, api_base, options = hide(api_key, is_key=True), hide(api_base), hide_arguments(options)
        row = find_service(service)
        if row is None:
            guess = nearest_name(service)
            hint = f"did you mean {guess!r}?" if guess else "add it with vn.register_service()."
            raise SettingsError(f"{service!r:.80} is not a known service: {hint}")
        self.provider, self.service = row.name, row.title
        self.image_limit, self.image_types = row.max_images, row.image_types
        self.max_image_bytes = row.max_image_bytes or MAX_BYTES
        self.max_request_bytes = row.max_request_bytes
        self.takes_detail = row.takes_detail is not False
        self.schema_support = "prompt" if row.takes_schema is False else "json_schema"
        self._row = replace(row, base_url=check_address(row.base_url, "base_url") or "")
        _check_trust(row)
        super().__init__(model, api_key, api_base, **{"inline_urls": not row.takes_urls, **options})
        self._sends_stream_options = row.takes_stream_options is not False

    def _side_limit(self, count: int) -> int | None:
        many = self._row.max_side_of_many
        return many[1] if many is not None and count > many[0] else self._row.max_side

    @property
    def server(self) -> str | None:
        """The base URL, or None if it is the service's own."""
        return self.api_base

    @property
    def _address(self) -> str:
        return self.server or self._row.base_url

    def _client_options(self) -> dict[str, Any]:
        from openai import Omit

        options = super()._client_options()
        # The client reads these from the environment, and would send OpenAI's to any server.
        omitted = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        return {**options, "default_headers": {**omitted, **options["default_headers"]}}

    def _length_limit_name(self) -> str:
        limit = None if self._needs_completion_limit else self._row.length_limit
        return limit or super()._length_limit_name()

    def count_input_tokens(self, prompt: str, image_documents: Images = ()) -> int:
        """Raise SettingsError: these services do not have OpenAI's token counter.

        Args:
            prompt: The question.
            image_documents: Its images.

        Raises:
            SettingsError: Always.
        """
        return MultiModalLLM.count_input_tokens(self, prompt, image_documents)

    def _drop_unsupported(self, request: Request, error: Exception) -> Request:
        bare = wire_format_of(request).without_detail(request)
        if self._row.takes_detail or bare == request or not refuses(error, "detail"):
            return super()._drop_unsupported(request, error)
        self.takes_detail = False
        warn_user(f"{self} does not support the detail level: further requests are sent without one.")
        return bare

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({vars(self).get('provider')!r}, ", 1)


def _check_trust(row: Service) -> None:
    """Raise SettingsError if an untrusted project file decides where keys and images go."""
    file = row.project_file
    if file is not None and (row.key_variable or not is_on_this_machine(row.base_url)) and not is_trusted(file):
        raise SettingsError(
            f"{file.name} defines {row.name!r} at {redact_url(row.base_url)[:80]}, and nothing was sent there. "
            + how_to_trust(file)
        )
