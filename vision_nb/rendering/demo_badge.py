"""How the demo is shown: the label of a model that it plays, and the badge at the foot of its answers.

All these words come from here, never from a server or a model.
"""

from __future__ import annotations

BADGE = "demo: measures pixels, no language model"
"""The note at the foot of the demo's answers."""

BADGE_HTML = f"<small><kbd>{BADGE}</kbd></small>"
"""The badge for HTML and Markdown output, where the tags of a model's text are escaped or removed."""


def demo_label(name: str) -> str:
    """Return the name to show for a model that the demo plays.

    >>> demo_label("gpt-4o"), demo_label("demo:second"), demo_label("demo")
    ('gpt-4o (demo)', 'second (demo)', 'demo')
    """
    return name if name == "demo" else f"{name.removeprefix('demo:')} (demo)"
