"""`AzureOpenAIMultiModal`: a model deployed on Azure OpenAI."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.accounting import ModelPricing
from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.privacy.api_keys import Secret, hide, hide_arguments, make_secret
from vision_nb.privacy.token_provider import TokenProvider
from vision_nb.providers.addresses import check_address
from vision_nb.providers.call import Request
from vision_nb.providers.openai.model import OpenAIMultiModal

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


@checks_arguments
class AzureOpenAIMultiModal(OpenAIMultiModal):
    """A model deployed on Azure OpenAI.

    Args:
        engine: The deployment's name. The names ``azure_deployment``, ``deployment_name`` and ``deployment_id`` are
            also accepted.
        model: The model that was deployed, whose token rule, price and parameters apply; default: the deployment's
            name, and for the price of an answer the model that the answer names.
        azure_endpoint: ``https://RESOURCE.openai.azure.com``; default: AZURE_OPENAI_ENDPOINT. If it ends in
            ``/openai/v1/``, no ``api_version`` is needed.
        api_version: The API version, a date; default: OPENAI_API_VERSION.
        api_key: API key; default: AZURE_OPENAI_API_KEY, unless there is a token or token provider.
        azure_ad_token_provider: A function that returns a Microsoft Entra token, to use instead of a key;
            for asynchronous calls, the function may be asynchronous.
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

    provider = "azure"
    service = "Azure OpenAI"
    _address_argument: ClassVar[str] = "azure_endpoint"

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
        api_key, azure_endpoint, options = hide(api_key, is_key=True), hide(azure_endpoint), hide_arguments(options)
        engine = engine or azure_deployment or deployment_name or deployment_id
        azure_endpoint = check_address(azure_endpoint, "azure_endpoint") or check_address(
            os.environ.get("AZURE_OPENAI_ENDPOINT"), "AZURE_OPENAI_ENDPOINT"
        )
        api_version = api_version or os.environ.get("OPENAI_API_VERSION")
        settings = {
            "engine= (the deployment's name)": engine,
            "azure_endpoint= or AZURE_OPENAI_ENDPOINT": azure_endpoint,
        }
        self._is_v1 = str(azure_endpoint).rstrip("/").endswith("/openai/v1")  # needs no version
        self._batch_prefix = "/v1" if self._is_v1 else ""
        if not self._is_v1:
            settings["api_version= or OPENAI_API_VERSION"] = api_version
        missing = [setting for setting, value in settings.items() if not value]
        if missing:
            raise SettingsError(f"Azure OpenAI needs {' and '.join(missing)}: find them in the Azure portal.")
        self.engine, self.azure_endpoint, self.api_version = str(engine), azure_endpoint, api_version
        self._is_model_given = model is not None
        provider = azure_ad_token_provider
        if provider is not None and not callable(provider):
            provider = azure_ad_token_provider = None  # a traceback may show local variables
            raise SettingsError("azure_ad_token_provider must be a function that returns a token.")
        self._token_provider = None if provider is None else TokenProvider(provider)
        super().__init__(model or self.engine, api_key, **options)

    def _find_key(self, api_key: Any) -> Secret | None:
        if self._token_provider is not None:
            return None
        key = make_secret(api_key, name="The API key for Azure OpenAI", variable="AZURE_OPENAI_API_KEY")
        self._is_token = key is None
        key = key or make_secret(None, name="The token for Azure OpenAI", variable="AZURE_OPENAI_AD_TOKEN")
        if key is None:
            raise MissingKeyError(
                "The API key for Azure OpenAI is missing: set AZURE_OPENAI_API_KEY, or pass api_key= or "
                'azure_ad_token_provider=. To try without one, use the model "demo".'
            )
        return key

    @property
    def _credential(self) -> Secret | TokenProvider | None:
        return self._token_provider or self._api_key

    def _client_classes(self) -> tuple[type[OpenAI], type[AsyncOpenAI]]:
        from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

        if self._is_v1:
            return OpenAI, AsyncOpenAI
        return AzureOpenAI, AsyncAzureOpenAI

    def _endpoint_options(self) -> dict[str, Any]:
        token = super()._endpoint_options()["api_key"]
        if self._is_v1:
            return {"base_url": self.azure_endpoint, "api_key": token}
        argument = "azure_ad_token" if self._token_provider is not None or self._is_token else "api_key"
        return {"azure_endpoint": self.azure_endpoint, "api_version": self.api_version, argument: token}

    @property
    def _lacks_responses(self) -> str | None:
        if self._is_v1:
            return None
        return (
            "Azure OpenAI has the Responses API only at its v1 endpoint: pass azure_endpoint= with /openai/v1/ at its "
            "end, and no api_version=."
        )

    def _call(self, request: Request) -> Any:
        if self._token_provider is not None and self._token_provider.is_async:
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
