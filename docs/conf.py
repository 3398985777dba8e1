"""Settings of Sphinx. ``python -m tests.build_docs`` collects the pages and runs it."""

import vision_nb

project = "vision_nb"
author = "vision_nb contributors"
release = vision_nb.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"vision_nb {release}"
html_static_path: list[str] = []
html_show_copyright = False

# Notebooks are shown as they were saved.
nb_execution_mode = "off"
nb_render_markdown_format = "gfm"  # with tables
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),  # a widget has a static form, which needs no kernel
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of dataclasses are described once, in the class
napoleon_custom_sections = [
    ("Attributes of an error or another answer", "params_style"),
    ("Attributes that change the answer of the demo model", "params_style"),
    ("Attributes of the connection", "params_style"),
]
default_role = "literal"
