"""Notes to the user: a quiet line below the cell in a notebook, a warning elsewhere."""

from __future__ import annotations

from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.sanitize import terminal_text
from vision_nb.user_warnings import warn_user


def show_note(message: str) -> None:
    """Show a note where the user sees it.

    Args:
        message: One or two sentences. A notebook would show a warning in a large red box, with a line of code.
    """
    if not in_notebook():
        warn_user(message)
        return
    from IPython.display import display

    display({"text/plain": terminal_text(message), "text/html": muted_text(message)}, raw=True)
