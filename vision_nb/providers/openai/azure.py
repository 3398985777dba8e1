"""`AzureOpenAIMultiModal`: a model deployed on Azure OpenAI."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from vision_nb.cost.accounting import ModelPricing
from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.providers.addresses import check_address
from vision_nb.providers.call import Request
from vision_nb.providers.openai.model import OpenAIMultiModal
from vision_nb.user_warnings import to_thread

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


class AzureOpenAIMultiModal(OpenAIMultiModal):
    """A model deployed on Azure OpenAI.

    Args:
        engine: The deployment's name. The names ``azure_deployment``, ``deployment_name`` and ``deployment_id`` work
            too.
        model: The model that was deployed, whose token rule, price and parameters apply; default: the deployment's
            name, and for the price of an answer the model that the answer names.
        azure_endpoint: ``https://RESOURCE.openai.azure.com``; default: AZURE_OPENAI_ENDPOINT. With
            ``/openai/v1/`` at its end, no ``api_version`` is needed.
        api_version: The API version, a date; default: OPENAI_API_VERSION.
        api_key: API key; default: AZURE_OPENAI_API_KEY, unless there is a token or token provider.
        azure_ad_token_provider: A function that returns a Microsoft Entra token, to use instead of a key;
            asynchronous calls also take one that is asynchronous.
        azure_deployment: Same as ``engine``.
        deployment_name: Same as ``engine``.
        deployment_id: Same as ``engine``.
        **options: As for `OpenAIMultiModal`: max_new_tokens, temperature, image_detail and so on.

    Raises:
        MissingKeyError: There is neither a key nor a token.
        SettingsError: The deployment, endpoint or API version is missing, or an argument is invalid.

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
        azure_ad_token_provider: Callable[[], str | Awaitable[str]] | None = None,
        azure_deployment: str | None = None,
        deployment_name: str | None = None,
        deployment_id: str | None = None,
        **options: Any,
    ) -> None:
        engine = engine or azure_deployment or deployment_name or deployment_id
        azure_endpoint = check_address(azure_endpoint, "azure_endpoint") or os.environ.get("AZURE_OPENAI_ENDPOINT")
        api_version = api_version or os.environ.get("OPENAI_API_VERSION")
        settings = {
            "engine= (the deployment's name)": engine,
            "azure_endpoint= or AZURE_OPENAI_ENDPOINT": azure_endpoint,
        }
        self._is_v1 = str(azure_endpoint).rstrip("/").endswith("/openai/v1")  # needs no version
        if not self._is_v1:
            settings["api_version= or OPENAI_API_VERSION"] = api_version
        missing = [setting for setting, value in settings.items() if not value]
        if missing:
            raise SettingsError(f"Azure OpenAI needs {' and '.join(missing)}: find them in the Azure portal.")
        self.engine, self.azure_endpoint, self.api_version = str(engine), azure_endpoint, api_version
        self._token_provider = azure_ad_token_provider
        self._is_model_given = model is not None
        super().__init__(model or self.engine, api_key, **options)

    def _find_key(self, api_key: str | None) -> str | None:
        if self._token_provider is not None:
            return None
        key = api_key or os.environ.get("AZURE_OPENAI_API_KEY")
        if not key and not os.environ.get("AZURE_OPENAI_AD_TOKEN"):
            raise MissingKeyError(
                "The API key for Azure OpenAI is missing: set AZURE_OPENAI_API_KEY, or pass api_key= or "
                'azure_ad_token_provider=. To try without one, use the model "demo".'
            )
        return key or None

    def _client_classes(self) -> tuple[type[OpenAI], type[AsyncOpenAI]]:
        from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

        if self._is_v1:
            return OpenAI, AsyncOpenAI
        return AzureOpenAI, AsyncAzureOpenAI

    def _endpoint_options(self) -> dict[str, Any]:
        if self._is_v1:
            key = self._token_provider or self._api_key or os.environ.get("AZURE_OPENAI_AD_TOKEN")
            return {"base_url": self.azure_endpoint, "api_key": key}
        return {
            "azure_endpoint": self.azure_endpoint,
            "api_version": self.api_version,
            "api_key": self._api_key,
            "azure_ad_token_provider": self._token_provider,
        }

    def _make_async_client(self) -> AsyncOpenAI:
        client = super()._make_async_client()
        provider = self._token_provider
        if not self._is_v1 or provider is None or inspect.iscoroutinefunction(provider):
            return client

        async def token() -> str:  # the client of the v1 endpoint awaits its provider
            return await to_thread(cast("Callable[[], str]", provider))

        return client.with_options(api_key=token)

    def _call(self, request: Request) -> Any:
        if inspect.iscoroutinefunction(self._token_provider):
            raise SettingsError(
                "azure_ad_token_provider= is asynchronous: pass a synchronous one, or use a method such as acomplete()."
            )
        return super()._call(request)

    @property
    def pricing(self) -> ModelPricing:
        """Prices the tokens of the model that was given, or else of the model that an answer names."""
        return replace(super().pricing, is_renamed=not self._is_model_given)

    @property
    def server(self) -> str | None:
        """The resource's endpoint."""
        return self.azure_endpoint

    def _requested_model(self) -> str:
        return self.engine

    def __str__(self) -> str:
        return f"{self.provider}:{self.engine}"
