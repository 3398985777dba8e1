"""Models deployed on Azure OpenAI."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.providers.openai.model import OpenAIMultiModal, checked_address, client_without_proxy

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


class AzureOpenAIMultiModal(OpenAIMultiModal):
    """A model that is deployed on Azure OpenAI.

    Args:
        engine: The name of the deployment; ``azure_deployment``, ``deployment_name`` and ``deployment_id`` are
            taken too.
        model: The model that it was deployed from: its token rule, price and parameters apply. None takes
            the deployment's name.
        azure_endpoint: ``https://RESOURCE.openai.azure.com``; None takes it from AZURE_OPENAI_ENDPOINT.
        api_version: The API's version, a date; None takes it from OPENAI_API_VERSION.
        api_key: The key; None takes it from AZURE_OPENAI_API_KEY, unless a token (provider) is given.
        azure_ad_token_provider: A function that gives a Microsoft Entra token, instead of a key.
        azure_deployment: As ``engine``.
        deployment_name: As ``engine``.
        deployment_id: As ``engine``.
        **options: As for `OpenAIMultiModal`: max_new_tokens, temperature, image_detail and so on.

    Raises:
        MissingKeyError: There is neither a key nor a token.
        SettingsError: Deployment, endpoint or API version is missing; the message names each.

    >>> llm = vn.AzureOpenAIMultiModal(engine="our-deployment", model="gpt-4o")  # the rest is in the environment
    >>> print(llm)
    azure:our-deployment
    >>> llm.complete("How large is it?", [vn.samples.path("chart")]).finish_reason
    'stop'
    """

    provider: ClassVar[str] = "azure"
    service: ClassVar[str] = "Azure OpenAI"

    def __init__(
        self,
        engine: str | None = None,
        model: str | None = None,
        azure_endpoint: str | None = None,
        api_version: str | None = None,
        api_key: str | None = None,
        *,
        azure_ad_token_provider: Callable[[], str] | None = None,
        azure_deployment: str | None = None,
        deployment_name: str | None = None,
        deployment_id: str | None = None,
        **options: Any,
    ) -> None:
        engine = engine or azure_deployment or deployment_name or deployment_id
        self.azure_endpoint = checked_address(azure_endpoint, "azure_endpoint") or os.environ.get(
            "AZURE_OPENAI_ENDPOINT"
        )
        self.api_version = api_version or os.environ.get("OPENAI_API_VERSION")
        self._token_provider = azure_ad_token_provider
        missing = [
            hint
            for hint, value in (
                ("engine= (the deployment's name)", engine),
                ("azure_endpoint= or AZURE_OPENAI_ENDPOINT", self.azure_endpoint),
                ("api_version= or OPENAI_API_VERSION", self.api_version),
            )
            if not value
        ]
        if missing:
            raise SettingsError(f"Azure OpenAI needs {' and '.join(missing)}: the Azure portal shows each.")
        self.engine = str(engine)
        super().__init__(model or self.engine, api_key, **options)

    def _find_key(self, api_key: str | None) -> str | None:
        if self._token_provider is not None:
            return None
        key = api_key or os.environ.get("AZURE_OPENAI_API_KEY")
        if not key and not os.environ.get("AZURE_OPENAI_AD_TOKEN"):
            raise MissingKeyError(
                "There is no API key for Azure OpenAI: set AZURE_OPENAI_API_KEY, or pass api_key= or "
                'azure_ad_token_provider=. To try without one, name the model "demo", which answers from the pixels.'
            )
        return key or None

    def _client_options(self) -> dict[str, Any]:
        return {
            "azure_endpoint": self.azure_endpoint,
            "api_version": self.api_version,
            "api_key": self._api_key,
            "azure_ad_token_provider": self._token_provider,
            **self._shared_client_options(),
        }

    def _make_client(self) -> OpenAI:
        from openai import AzureOpenAI, DefaultHttpxClient

        return AzureOpenAI(**self._client_options(), **client_without_proxy(self.server, DefaultHttpxClient))

    def _make_async_client(self) -> AsyncOpenAI:
        from openai import AsyncAzureOpenAI, DefaultAsyncHttpxClient

        return AsyncAzureOpenAI(**self._client_options(), **client_without_proxy(self.server, DefaultAsyncHttpxClient))

    @property
    def server(self) -> str | None:
        """The resource's endpoint."""
        return self.azure_endpoint

    def _requested_model(self) -> str:
        return self.engine

    def __str__(self) -> str:
        return f"{self.provider}:{self.engine}"
