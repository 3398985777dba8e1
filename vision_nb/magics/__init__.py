"""The IPython magics ``%%vision`` and ``%vision``.

``%load_ext vision_nb`` imports `extension`, `magic`, `options` and `settings`; the first cell imports the rest.
"""

__all__: list[str] = []  # nothing here is public: import from vision_nb
