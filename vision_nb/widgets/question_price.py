"""`QuestionPrice`: what the next question of a chat panel would cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vision_nb.conversation.chat import Chat
from vision_nb.cost.image_rules import rule_for
from vision_nb.cost.image_tokens import ImageTokens, count_images
from vision_nb.cost.text_tokens import TextTokens, text_tokens
from vision_nb.errors import VisionError
from vision_nb.images.detail import DETAILS
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering.format import format_count, format_usd, pluralize
from vision_nb.responses import Usage


class QuestionPrice:
    """Estimates the tokens and the price of the next question, in a thread: headers of images are read.

    Args:
        chat: The conversation, which is sent again with each question.
        on_ready: Called with each new estimate as a line of text; with "" if there is nothing to estimate.
    """

    def __init__(self, chat: Chat, on_ready: Callable[[str], None]) -> None:
        self._chat, self._on_ready = chat, on_ready
        self._next: tuple[MultiModalLLM, list[ChatMessage]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._counted: dict[tuple[str, str], TextTokens] = {}  # the texts of the last estimate, by model and text

    def update(self, question: ChatMessage) -> None:
        """Estimate a question; an estimate that is no longer needed is not reported.

        Args:
            question: The text and images that would be sent now.
        """
        if self._chat.answering is not None or not (question.text.strip() or question.image_documents):
            self._next = None
            self._on_ready("")
            return
        self._next = self._chat.llm, self._chat.messages_with(question)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside a kernel, there is no page to display it
            return
        if self._task is None:
            self._task = loop.create_task(self._estimate())

    async def wait(self) -> None:
        """Wait until the current estimate is ready."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _estimate(self) -> None:
        try:
            while self._next is not None:
                estimated = self._next
                line = await asyncio.to_thread(self._line, *estimated)
                if self._next is estimated:
                    self._next = None
                    self._on_ready(line)
        finally:
            self._task = None

    def _line(self, llm: MultiModalLLM, messages: list[ChatMessage]) -> str:
        """Return the estimate in one line, or why the question cannot be sent."""
        try:
            texts = self._count_texts(llm.counted_model, messages)
            return price_line(llm, messages, texts)
        except VisionError as error:
            return str(error)

    def _count_texts(self, model: str, messages: list[ChatMessage]) -> list[TextTokens]:
        keys = [(model, message.text) for message in messages]
        self._counted = {key: self._counted.get(key) or text_tokens(key[1], model) for key in keys}
        return [self._counted[key] for key in keys]


def price_line(llm: MultiModalLLM, messages: Sequence[ChatMessage], texts: Sequence[TextTokens]) -> str:
    """Return the tokens and the price of a request, without its answer, in one line.

    Args:
        llm: The model.
        messages: The conversation; the last message is the question.
        texts: The tokens of the text of each message.

    Raises:
        SettingsError: The model does not support the detail level of an image.
    """
    question = messages[-1]
    images = [_count(llm, message) for message in messages]
    own, earlier = images[-1], [image for of_message in images[:-1] for image in of_message]
    count = len(question.image_documents)
    parts: list[tuple[str, int | None]] = [("text", texts[-1].tokens)]
    if count:
        parts.append((pluralize(count, "image"), _total(own)))
    if len(messages) > 1:
        conversation = _total(earlier)
        texts_before = sum(text.tokens for text in texts[:-1])
        parts.append(("conversation so far", None if conversation is None else conversation + texts_before))
    counts = [tokens for _, tokens in parts]
    total = None if None in counts else sum(tokens for tokens in counts if tokens is not None)
    is_estimate = any(text.is_estimate for text in texts) or any(image.is_estimate for image in [*own, *earlier])
    listed = ", ".join(f"{name} {format_count(tokens)}" for name, tokens in parts) if len(parts) > 1 else ""
    tokens = f"{format_count(total, is_estimate=is_estimate)} tokens" if total is not None else "tokens unknown"
    line = f"{tokens}{listed and f' ({listed})'} \u00b7 {_price(llm, total, is_estimate=is_estimate)}"
    return line[0].upper() + line[1:]


def detail_choices(llm: MultiModalLLM) -> list[tuple[str, str]]:
    """Return the detail levels that a model supports, each with its label; empty if it has none.

    The level "" is the model's default.
    """
    if not llm.takes_detail:
        return []
    rule = rule_for(llm.counted_model)
    default = f"Model's default ({llm.image_detail})" if llm.image_detail else "Model's default"
    levels = [level for level in DETAILS if rule is None or level in rule.details]
    return [("", default), *((level, level.capitalize()) for level in levels)]


def _count(llm: MultiModalLLM, message: ChatMessage) -> list[ImageTokens]:
    documents: list[ImageDocument] = list(message.image_documents)
    default = llm.settings().get("image_detail")
    if not llm.takes_detail:
        documents, default = [document.with_detail(None) for document in documents], None
    downloaded = [document for document in documents if not document.is_link]
    counted = count_images(downloaded, llm.counted_model, None, default_detail=default, max_side=llm.max_side)
    unknown = ImageTokens(None, llm.counted_model, "auto")  # the image must not be downloaded before it is sent
    return counted + [unknown] * (len(documents) - len(downloaded))


def _total(images: Sequence[ImageTokens]) -> int | None:
    counts = [image.tokens for image in images]
    return None if None in counts else sum(tokens for tokens in counts if tokens is not None)


def _price(llm: MultiModalLLM, tokens: int | None, *, is_estimate: bool) -> str:
    usd = llm.price(Usage(tokens, 0))
    if usd is None:
        return "price unknown"
    if not usd:
        return "free"
    amount = f"{'about ' if is_estimate else ''}{format_usd(usd)} plus the answer"
    return f"free in the demo, would cost {amount}" if llm.is_demo else f"would cost {amount}"
