"""`OpenAIBatches`: the batch API of OpenAI and Azure OpenAI."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import IO, Any

from vision_nb.cost.accounting import CallAccounting, InputTokens, longest_answer
from vision_nb.cost.prices import BATCH_TIER
from vision_nb.errors import MalformedResponseError, ProviderError, SchemaError, SettingsError
from vision_nb.images.boxes import SentImage
from vision_nb.images.document import ImageDocument
from vision_nb.images.uploaded import UploadedImage
from vision_nb.messages import user_message
from vision_nb.privacy.api_keys import Secret
from vision_nb.privacy.urls import redact_url
from vision_nb.providers.addresses import is_on_this_machine
from vision_nb.providers.batches import Batches, BatchLine, BatchRequest, BatchState
from vision_nb.providers.openai.chat_completions import CHAT_COMPLETIONS
from vision_nb.providers.openai.connection import OpenAIConnection
from vision_nb.providers.openai.errors import ReportedError, check_missing, refuses
from vision_nb.providers.openai.responses_api import RESPONSES, wire_format_of
from vision_nb.providers.openai.server_message import server_message
from vision_nb.providers.openai.wire_format import string, token_count
from vision_nb.providers.streaming import ResponseAccumulator
from vision_nb.providers.structured import Question
from vision_nb.responses import CompletionResponse
from vision_nb.schema.schema import Schema
from vision_nb.user_warnings import warn_user

DEMO = "demo"
"""What stands for the address of a demo server, which has another port in each kernel."""

LIFETIME = 14 * 24 * 3600
"""Seconds after which the service deletes the files of a batch that were not deleted before.

OpenAI accepts one hour to 30 days, and Azure OpenAI 14 to 30 days (their batch guides, read 2026-11).
"""
_EXPIRY: Any = {"anchor": "created_at", "seconds": LIFETIME}
_NOT_RUN = ("batch_expired", "batch_cancelled")  # the codes of requests that were not executed
_CLIENT_OPTIONS = ("extra_headers", "extra_query", "timeout")  # which a line of a file cannot have
_SKEW = 24 * 3600.0  # seconds by which the server's clock may differ
_CHUNK = 2**20  # bytes of a download that are read at a time
_UNPROCESSED = ("pending", "running", "notRunning")  # the status of a file that Azure OpenAI is still reading
_PROCESSING_TIME = 1800.0  # seconds to wait for it
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0  # seconds between two looks at a file


class OpenAIBatches(Batches):
    """The batch API of a model of OpenAI or Azure OpenAI.

    Args:
        llm: The model, whose clients send the requests.
        prefix: What the paths of the requests in a file begin with: "/v1", or "" for Azure's dated API versions.
    """

    max_requests = 50_000
    max_bytes = 200_000_000
    """OpenAI, Batch API reference, and Azure OpenAI, Batch quotas (read 2026-11)."""

    def __init__(self, llm: OpenAIConnection, prefix: str) -> None:
        self._llm, self._prefix = llm, prefix

    @property
    def server(self) -> str:
        """The address of the server, without a login."""
        return DEMO if self._llm.is_demo else redact_url(str(self._llm.server or self._llm._row.base_url))

    @property
    def account(self) -> str:
        """A short digest of the account; see `Batches`."""
        credential = self._llm._credential
        if self._llm.is_demo or not isinstance(credential, Secret):  # tokens change
            return ""
        names = (os.environ.get(variable, "") for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"))
        return hashlib.sha256(" ".join([*names, credential.reveal()]).encode()).hexdigest()[:8]

    def write(self, key: str, prompt: str, document: ImageDocument, schema: Schema | None) -> BatchRequest:
        """Return a question as a line of an input file; see `Batches`."""
        if isinstance(document, UploadedImage):  # the file may be deleted before the batch is answered
            document = document.without_upload()
        question = Question(CompletionResponse, lambda: [user_message(prompt, [document])], {}, schema, 0)
        call = self._llm._prepare(question, stream=False)
        wire_format, body = wire_format_of(call.request), dict(call.request)
        if refused := [name for name in _CLIENT_OPTIONS if name in body]:
            raise SettingsError(f"{refused[0]}= cannot be part of a batch: set it for the whole model, or omit it.")
        body |= body.pop("extra_body", None) or {}
        endpoint = f"{self._prefix}{'/responses' if wire_format is RESPONSES else '/chat/completions'}"
        line = {"custom_id": key, "method": "POST", "url": endpoint, "body": body}
        empty = call.accumulator.response
        facts = {
            "sent_tokens": empty.sent_tokens,
            "expected_tokens": empty.expected_tokens,
            "expected_is_estimate": call.accounting.tokens.is_estimate,
            "image_notes": empty.image_notes,
            "sent_images": [asdict(image) for image in empty.sent_images],
        }
        return BatchRequest(json.dumps(line).encode() + b"\n", endpoint, facts)

    def read_line(self, line: bytes) -> BatchLine:
        """Read a line of an output or error file; see `Batches`."""
        try:
            value = json.loads(line)
            key, response, error = value["custom_id"], value.get("response"), value.get("error")
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            return BatchLine()
        if not isinstance(key, str):
            return BatchLine()
        status = response.get("status_code") if isinstance(response, Mapping) else None
        body = response.get("body") if isinstance(response, Mapping) else None
        if not error and status == 200 and isinstance(body, Mapping):
            return BatchLine(key, body)
        reported = error or body
        if isinstance(reported, Mapping) and reported.get("code") in _NOT_RUN:
            return BatchLine(key, was_not_run=True)
        inner = reported.get("error", reported) if isinstance(reported, Mapping) else reported
        raised = ReportedError(inner)
        if isinstance(status, int):
            raised.status_code = status  # type: ignore[attr-defined]  # read by `map_error`
        return BatchLine(key, error=self._llm._mapped(raised, ""))

    def read(
        self, body: Mapping[str, Any], facts: Mapping[str, Any], schema: Schema | None, *, record: bool
    ) -> tuple[CompletionResponse, Exception | None]:
        """Read an answer as that of a direct call; see `Batches`."""
        llm = self._llm
        wire_format = RESPONSES if body.get("object") == "response" else CHAT_COMPLETIONS
        empty = CompletionResponse(
            model=llm.model,
            pricing=llm.pricing,
            service_tier=BATCH_TIER,
            schema=schema,
            sent_tokens=facts.get("sent_tokens"),
            expected_tokens=facts.get("expected_tokens"),
            image_notes=tuple(facts.get("image_notes", ())),
            sent_images=tuple(SentImage.from_fields(image) for image in facts.get("sent_images", ())),
        )
        expected, is_estimate = facts.get("expected_tokens"), bool(facts.get("expected_is_estimate"))
        tokens = InputTokens(0, [expected], is_estimate)
        longest = longest_answer(llm.settings())
        accounting = CallAccounting(str(llm), llm.pricing, tokens, longest_answer=longest, service_tier=BATCH_TIER)
        accumulator = ResponseAccumulator(empty, llm._trim, may_be_demo=is_on_this_machine(llm.server))
        try:
            with llm._mapping_errors():
                raw = wire_format.answer_class().construct(**body)  # as the openai client does
                accumulator.add(wire_format.parse_response(raw, llm.service), last=True)
            accounting.note_accepted()
        except Exception as error:
            accounting.note_failure(error)
            raise
        finally:
            # The answer may name the standard tier, and has no latency of its own.
            accumulator.response = replace(accumulator.response, service_tier=BATCH_TIER, latency=None)
            if record:
                accounting.settle(accumulator.response)
        response = accumulator.response
        try:
            accepted = Question(CompletionResponse, list, {}, schema, 0).accept(response)
        except SchemaError as error:
            error.response = response
            return response, error
        return accepted or response, None

    async def upload(self, file: IO[bytes], name: str) -> str:
        """Upload an input file and return its ID; see `Batches`."""
        arguments: dict[str, Any] = {"file": (name, file, "application/jsonl"), "purpose": "batch"}
        with self._mapping_errors():
            create = self._llm.async_client.files.with_raw_response.create
            started = time.time()
            try:
                answer = await create(**arguments, expires_after=_EXPIRY)
            except Exception as error:
                if not refuses(error, "expires_after"):
                    raise
                answer = await create(**arguments)
            created = answer.parse()
            if answer.retries_taken:
                await self._delete_copies(self._id_of(created), name, started)
            # Azure OpenAI refuses a batch whose file is not processed yet ("pending" for some seconds, read 2026-11).
            deadline, pause = time.monotonic() + _PROCESSING_TIME, _FIRST_PAUSE
            while string(created, "status") in _UNPROCESSED and time.monotonic() < deadline:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                created = await self._llm.async_client.files.retrieve(self._id_of(created))
        return self._id_of(created)

    async def _delete_copies(self, file_id: str, name: str, started: float) -> None:
        """Delete files of the same name that the server received in attempts whose answer was lost."""
        try:
            async for other, other_name in self.recent_files(started - _SKEW):
                if other_name == name and other != file_id:
                    await self.delete(other)
        except ProviderError as error:
            warn_user(f"{self._llm}: a copy of a batch's input file may be left, until it expires: {error}")

    async def submit(self, file_id: str, endpoint: str, metadata: Mapping[str, str]) -> BatchState:
        """Create a batch from an input file; see `Batches`."""
        arguments: dict[str, Any] = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": dict(metadata),
        }
        with self._mapping_errors():
            create = self._llm.async_client.with_options(max_retries=0).batches.create
            try:
                return self._state(await create(**arguments, output_expires_after=_EXPIRY))
            except Exception as error:
                if not refuses(error, "output_expires_after"):
                    raise
            return self._state(await create(**arguments))

    async def retrieve(self, batch_id: str) -> BatchState | None:
        """Return the current state of a batch; see `Batches`."""
        with self._mapping_errors():
            try:
                return self._state(await self._llm.async_client.batches.retrieve(batch_id))
            except Exception as error:
                check_missing(error)
        return None

    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch; see `Batches`."""
        with self._mapping_errors():
            try:
                await self._llm.async_client.batches.cancel(batch_id)
            except Exception as error:
                if getattr(error, "status_code", None) not in (400, 404, 409):  # it has ended, or is unknown
                    raise

    async def recent(self, since: float) -> AsyncIterator[BatchState]:
        """Iterate over the batches of the account, newest first; see `Batches`."""
        with self._mapping_errors():
            async for batch in self._llm.async_client.batches.list(limit=100):
                if (token_count(batch, "created_at") or 0) < since:
                    return
                yield self._state(batch)

    async def recent_files(self, since: float) -> AsyncIterator[tuple[str, str]]:
        """Iterate over the ID and name of the account's input files; see `Batches`."""
        with self._mapping_errors():
            async for file in self._llm.async_client.files.list(purpose="batch", order="desc"):
                if (token_count(file, "created_at") or 0) >= since:  # not every service keeps to the order
                    yield string(file, "id"), string(file, "filename")

    async def lines(self, file_id: str) -> AsyncIterator[bytes]:
        """Iterate over the lines of a file while it is downloaded; see `Batches`."""
        rest = b""
        with self._mapping_errors():
            try:
                async with self._llm.async_client.files.with_streaming_response.content(file_id) as response:
                    async for data in response.iter_bytes(_CHUNK):
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            yield line
            except Exception as error:
                check_missing(error)
        if rest.strip():
            yield rest

    async def delete(self, file_id: str) -> None:
        """Delete a file; see `Batches`."""
        with self._mapping_errors():
            try:
                await self._llm.async_client.files.delete(file_id)
            except Exception as error:
                check_missing(error)

    def _state(self, raw: Any) -> BatchState:
        counts, metadata = getattr(raw, "request_counts", None), getattr(raw, "metadata", None)
        errors = getattr(getattr(raw, "errors", None), "data", None)
        words = [server_message(string(error, "message")) for error in errors or () if string(error, "message")]
        return BatchState(
            self._id_of(raw),
            string(raw, "status"),
            token_count(raw, "created_at") or 0,
            string(raw, "input_file_id") or None,
            string(raw, "output_file_id") or None,
            string(raw, "error_file_id") or None,
            token_count(counts, "total"),
            (token_count(counts, "completed") or 0) + (token_count(counts, "failed") or 0),
            self._llm.redacted("; ".join(dict.fromkeys(words[:3]))),
            {str(name): str(value) for name, value in metadata.items()} if isinstance(metadata, Mapping) else {},
        )

    def _id_of(self, raw: Any) -> str:
        if found := string(raw, "id"):
            return found
        raise MalformedResponseError(
            f"{self._llm}: the server's answer has no ID: check the base URL, or try again.", may_be_billed=False
        )

    def _mapping_errors(self) -> AbstractContextManager[None]:
        return self._llm._needing_api("does not take batches: omit batch=True.")
