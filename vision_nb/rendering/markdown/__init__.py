r"""Untrusted Markdown: made safe for every front end's parser, or rendered as HTML.

Front ends render ``text/markdown`` with different parsers: marked in JupyterLab, markdown-it in VS Code, cmark-gfm on
GitHub, mistune in nbconvert. They disagree about where code and formulas begin and end, and some set formulas aside
before they look for code. Therefore nothing here depends on guessing what a parser treats as code:

* A fenced block at the left margin keeps its text. It is surrounded by blank lines and by a fence longer than any
  inside it, so that no formula, link definition or list before it can include its fence.
* A fenced block in a list item becomes ``<pre><code>`` on one line, with its punctuation written as character
  references. It is harmless even if a parser treats it as text.
* Everything else is prose; see `vision_nb.rendering.markdown.prose`.

Each step takes time proportional to the length of the text.
"""

__all__: list[str] = []  # nothing here is public: import from vision_nb
