"""Generated hostile answers: what each parser makes of the sanitized text is harmless."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.hostile_answers import known_attacks, mutations
from tests.mathjax_finder import harmful_formulas
from tests.test_safe_html import PARSERS, Page
from vision_nb.rendering.html_cleaner import clean_html
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.tex import COMMANDS

pytestmark = pytest.mark.slow

SEEDS, COUNT = range(10), 10_200


def parsed_by(parse):
    """Return a function that renders an answer as a front end with this Markdown parser does."""
    return lambda text: parse(safe_markdown(text))


TO_PAGE: dict[str, Callable[[str], str]] = {
    **{name: parsed_by(parse) for name, parse in PARSERS.items()},
    "Markdown as HTML": markdown_to_html,
    "HTML": clean_html,
}


def faults(page):
    return Page(page).faults + harmful_formulas(page, COMMANDS)


@pytest.mark.parametrize("name", TO_PAGE)
def test_known_attacks_are_harmless(name):
    pages = {attack: TO_PAGE[name](attack) for attack in known_attacks()}
    assert {attack: found for attack, page in pages.items() if (found := faults(page))} == {}


def test_known_attacks_do_harm_without_sanitizing():
    attacks = known_attacks()
    assert sum(bool(faults(PARSERS["nbconvert"](attack))) for attack in attacks) > 0.7 * len(attacks)


def harmful_answers(seed):
    """Return the generated answers that are harmful on one of the pages, which take turns, and how many were tried."""
    answers = list(mutations(COUNT, seed))
    places = list(TO_PAGE.values())
    found = [answer for number, answer in enumerate(answers) if faults(places[number % len(places)](answer))]
    return found, len(answers)


@pytest.mark.slow
def test_one_hundred_thousand_generated_answers_are_harmless():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=context) as pool:
        results = list(pool.map(harmful_answers, SEEDS))
    assert [answer for found, _ in results for answer in found] == []
    assert sum(count for _, count in results) > 100_000
