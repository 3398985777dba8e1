"""What the stand-in answers: a pure function from a question and its pictures to Markdown.

It measures pixels and recognises nothing, and says so once in every answer. A question decides by its words
what the answer begins with, and whether it is prose, a table, JSON or code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import Image

from vision_nb.demo.answers import templates
from vision_nb.demo.answers.measure import Measured, measure, same

MOST_PICTURES = 16
"""More pictures than this are not measured; the answer says how many were left."""

_LISTED = 3  # pictures that get a line of their own
_NOTE = "I am vision_nb's stand-in: I measure pixels and am no language model"
_CLOSING = f"*{_NOTE}, so I cannot say what a picture shows.*"
_CANNOT = f"I cannot recognise people, things or writing, for {_NOTE}. What I measured instead:"
_NO_PICTURE = (
    "There is no picture with this question yet, so I have nothing to look at. Please add one and ask again: "
    '`%%vision -i photo.jpg` in a cell, `image_documents=vn.load_images("photo.jpg")` in code, or drop it '
    "into the chat panel. I can then tell its size, its main colours and where they are, its light and "
    f"sharpness, and how alike two pictures are. *{_NOTE}.*"
)

_TOPICS = {  # the first that fits decides
    "json": r"\bjson\b",
    "table": r"(?<!the )(?<!on a )(?<!at a )\btables?\b|\btabular\b",
    "code": r"(?<!qr )(?<!bar )(?<!post )(?<!zip )\bcode\b|\bin python\b|\bpython (code|script|snippet)\b",
    "alt": r"\balt(ernative)?[ -]texts?\b",
    "compare": r"\bdiffer|\bcompar|\brelation|\bsimilar|\balike\b|\bsame\b|\bidentical|\bin common\b|\bvs\b",
    "colour": r"\bcolou?r|\bhues?\b|\bpalette\b|\bshades?\b|\btints?\b"
    r"|\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y)\b",
    "size": r"\b(size|dimension|resolution|width|height|(mega)?pixel)s?\b|\baspect ratio\b"
    r"|\bhow (big|large|wide|tall|high)\b|\b(portrait|landscape) or\b|\b(larg|bigg|small)er\b",
    "light": r"\b(bright|dark|light)(er|est|ness)?\b|\b(contrast|exposure|lighting)\b",
    "look": r"\b(sharp|blur|focus)|\b(drawing|photo(graph)?) or\b",
    "more": r"\b(more|else|further|elaborate|details?)\b",
    "content": r"\b(how many|count|who|whose|where|when|why|read|ocr|text|words?|written|writing|says?|names?)\b"
    r"|\b(transcri|translat|recogni|identif)|\b(person|people|m[ae]n|wom[ae]n|faces?|animals?|objects?)\b",
    "general": r"\bdescri|\bcaption|\bwhat\b|\btell\b|\bsee\b|\bshow",
}
_ORDINALS = ("first|1st", "second|2nd", "third|3rd", "fourth|4th", "fifth|5th")


def answer(prompt: str, images: Sequence[Image.Image], history: Sequence[str] = ()) -> str:
    """Answer a question about pictures from what can be measured on them.

    Args:
        prompt: The question, in whatever words.
        images: Every picture of the conversation, in order.
        history: The user's earlier questions, which settle what a bare "and the second one?" is about.

    Returns:
        Markdown; a JSON object where the question asks for JSON.
    """
    topic = topic_of(prompt, history)
    if not images:
        return templates.dump({"note": _NO_PICTURE.replace("*", "")}) if topic == "json" else _NO_PICTURE
    chosen = _chosen(prompt, len(images))
    if chosen is not None:
        images = [images[chosen]]
    pictures = [measure(image) for image in images[:MOST_PICTURES]]
    left = len(images) - len(pictures)
    if topic == "json":
        return templates.as_json(pictures, f"{_NOTE}.", left)
    if topic == "table":
        told = templates.table(pictures)
    elif topic == "code":
        told = templates.code(pictures)
    elif len(pictures) == 1:
        told = _about_one(topic, pictures[0], "The picture" if chosen is None else f"Picture {chosen + 1}")
    else:
        told = _about_several(topic, pictures, images)
    parts = [_CANNOT, told] if topic == "content" else [told, _CLOSING]
    return "\n\n".join(parts + ([f"The last {left} pictures are not measured."] if left else []))


def topic_of(prompt: str, history: Sequence[str] = ()) -> str:
    """What a question is about, or what an earlier one was where it does not say.

    >>> topic_of("Which colours do you see?")
    'colour'
    >>> topic_of("And the second one?", history=["How large is it?"])
    'size'
    """
    for text in (prompt, *reversed(history)):
        for topic, pattern in _TOPICS.items():
            if re.search(pattern, text, re.IGNORECASE):
                return topic
    return "general"


def _chosen(prompt: str, count: int) -> int | None:
    """The place of the one picture that a question singles out, such as "the second"; None for all."""
    found = {place for place, names in enumerate(_ORDINALS) if re.search(rf"\b({names})\b", prompt, re.I)}
    numbers = re.findall(r"\b(?:image|picture|photo|number) #?([1-9]\d?)\b", prompt, re.IGNORECASE)
    found |= {int(number) - 1 for number in numbers}
    if re.search(r"\b(last|latest)\b", prompt, re.IGNORECASE):
        found.add(count - 1)
    place = min(found, default=count)
    return place if len(found) == 1 and place < count and count > 1 else None


def _about_one(topic: str, picture: Measured, name: str) -> str:
    sentences = {
        "size": templates.size_sentence(picture),
        "colour": templates.colour_sentence(picture),
        "light": templates.light_sentence(picture),
        "look": templates.look_sentence(picture),
    }
    lead = sentences.pop(topic, "")
    if topic == "alt":
        lead = f"**Alternative text:** {templates.caption(picture, 3)}"
        del sentences["colour"], sentences["light"]  # the caption has them
    elif topic == "compare":
        lead = "There is only one picture here, so nothing to compare it with."
    elif topic == "more":
        lead = templates.figures(picture)
        del sentences["light"]
    told = " ".join(sentence for sentence in (lead, *sentences.values()) if sentence)
    told = re.sub(r"\{It(s?)\}", lambda match: name + ("'s" if match[1] else ""), told, count=1)
    return told.replace("{It}", "It").replace("{Its}", "Its")


def _about_several(topic: str, pictures: list[Measured], images: Sequence[Image.Image]) -> str:
    most = 3 if len(pictures) == 2 else 2
    lines = [
        f"{place}. {templates.caption(p, most) if topic == 'alt' else templates.row(p, most)}"
        for place, p in enumerate(pictures[:_LISTED], start=1)
    ]
    if len(images) > _LISTED:
        lines.append(f"\n… and {len(images) - _LISTED} more.")
    one, other = templates.closest_pair(pictures)
    identical = same(images[one], images[other])
    comparison = templates.comparison(pictures, identical=identical)
    if identical and len(pictures) == 2:
        return f"{comparison}\n\n{_about_one('general', pictures[0], 'It')}"
    told = ["\n".join(lines), comparison]
    return "\n\n".join(told if topic in {"colour", "size", "alt"} else reversed(told))
