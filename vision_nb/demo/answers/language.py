"""Recognize questions that are not in English, by their script and by a few frequent words."""

from __future__ import annotations

import re

_ENGLISH = set(
    "a about an and answer any are as at be brief by can color colors compare describe does find for from give has "
    "have how i image images in is it its me of on one only or photo picture please read say says see show shows size "
    "text that the there these they this to translate two used what where which who why with word write you".split()
)
_FOREIGN = set(
    "beschreibe bild bilder farben ist siehst sind welche wie zeigt décris où quelle quelles qu montre voit voyez cuál "
    "cuáles hay imagen qué ves che colori cosa descrivi immagine vedi descreva imagem quais você afbeelding beschrijf "
    "kleuren zie est sont está são".split()
)
_ARTICLES = set(  # also in names: they count only beside one of the words above
    "auf das der die ein eine cette ces c dans des du de del la le les une el esta este las los nella questa sono di "
    "da esta nesta o os que uma deze een het wat zijn es en".split()
)


def is_english(question: str) -> bool:
    """Return whether a question is in English, or too short to tell.

    Text in quotation marks does not count, and neither does a foreign word or name among English words.

    >>> is_english("What does 'das Bild' mean?"), is_english("Was zeigt das Bild?"), is_english("写真に何がありますか")
    (True, False, False)
    """
    question = re.sub(r"""["`“”].*?["`“”]|(?<!\w)'.*?'(?!\w)""", " ", question.lower())
    words = set(re.findall(r"[^\W\d_]+", question))
    letters = "".join(words)
    if 2 * sum(letter > "\u024f" for letter in letters) > len(letters):  # another script than Latin
        return not words.isdisjoint(_ENGLISH)
    foreign = words & (_FOREIGN | _ARTICLES)
    return words.isdisjoint(_FOREIGN) or len(foreign) < 2 or len(foreign) <= len(words & _ENGLISH)
