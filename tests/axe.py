"""Check the accessibility of a page with axe-core."""

from tests.lab import set_theme

IMPACTS = ("moderate", "serious", "critical")


def assert_accessible(page, *selectors, least_passes=11):
    """Assert that axe-core finds no violation of moderate or higher impact, and print those that it finds.

    Args:
        page: A Playwright page.
        *selectors: CSS selectors of the elements to check; none for the whole page. Each must match an element.
        least_passes: How many rules must have been checked; a few elements have less than a widget.
    """
    from axe_playwright_python.sync_playwright import Axe

    _check(Axe().run(page, context=_context(selectors)), least_passes)


async def assert_async_page_accessible(page, *selectors):
    """Assert that axe-core finds no violation in a page of Playwright's async API; see `assert_accessible`."""
    from axe_playwright_python.async_playwright import Axe

    _check(await Axe().run(page, context=_context(selectors)))


def assert_accessible_in_both_themes(page, *selectors, least_passes=11):
    """Assert in JupyterLab's light and dark theme that axe-core finds no violation; see `assert_accessible`."""
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        set_theme(page, theme)
        assert_accessible(page, *selectors, least_passes=least_passes)


def _context(selectors):
    return {"include": [[selector] for selector in selectors]} if selectors else None


def _check(results, least_passes=11):
    violations = [one for one in results.response["violations"] if one["impact"] in IMPACTS]
    assert not violations, "\n".join(map(_described, violations))
    assert len(results.response["passes"]) >= least_passes, "axe-core checked almost nothing"


def _described(violation):
    """Describe a violation in one line for each element."""
    lines = [f"{violation['impact']}: {violation['id']}, {violation['help']}"]
    for node in violation["nodes"]:
        advice = node.get("failureSummary", "").replace("\n", " ")
        lines.append(f"  {node['html'][:120]} ({advice[:300]})")
    return "\n".join(lines)
