"""`VisionMagics`: the magics ``%%vision`` and ``%vision``.

``%load_ext vision_nb`` imports this module, so it imports the rest of the package only when a cell runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from vision_nb.errors import VisionError
from vision_nb.magics.options import parse, with_options
from vision_nb.magics.settings import VisionSettings, load_project_settings
from vision_nb.magics.usage_errors import UsageError
from vision_nb.notebook.tracebacks import hint, set_short_traceback
from vision_nb.rendering.sanitize import replace_surrogates

if TYPE_CHECKING:
    from vision_nb.magics.session import Session


@magics_class
class VisionMagics(VisionSettings, Magics):
    """The magics ``%%vision`` and ``%vision``, and their settings.

    Args:
        shell: The IPython shell.
        package: The module with the public names that ``%vision help`` explains.
    """

    shell: Any

    def __init__(self, shell: Any, package: ModuleType) -> None:
        super().__init__(shell=shell)
        self._package = package
        load_project_settings(self, Path.cwd())

    @cached_property
    def session(self) -> Session:
        """The state that cells share."""
        from vision_nb.magics.session import Session

        return Session(self.shell, self, self._package)

    @no_var_expand
    @needs_local_scope
    @with_options
    @line_cell_magic
    def vision(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        r"""Ask a model about images: the body of a ``%%vision`` cell is the question.

        ``%%vision [MODEL] [NAME <<] [options]``; ``%vision help`` lists the options and the subcommands. The body is
        sent as it is typed, except that ``{{expression}}`` inserts a value and ``\{{`` sends two braces.
        """
        line, cell = replace_surrogates(line), None if cell is None else replace_surrogates(cell)
        try:
            return self._run_subcommand(line) if cell is None else self._run_cell(line, cell, local_ns or {})
        except UsageError as error:  # IPython shows exactly its own class without a traceback
            raise IPythonUsageError(str(error)) from None
        except VisionError as error:
            set_short_traceback(error, f"{type(error).__name__}: {error}", hint(error))
            raise
        except KeyboardInterrupt as interrupt:
            set_short_traceback(
                interrupt, "KeyboardInterrupt: stopped.", "The part of the answer that had arrived is in _vision."
            )
            raise

    def _run_subcommand(self, line: str) -> Any:
        from vision_nb.magics.subcommands import run_subcommand

        return run_subcommand(self.session, line)

    def _run_cell(self, line: str, cell: str, local_ns: Mapping[str, Any]) -> Any:
        from vision_nb.magics.execute import run_cell, show_error

        options = parse(type(self).vision.parser, line)  # type: ignore[union-attr]  # with_options sets it
        try:
            return run_cell(self.session, options, cell, {**self.shell.user_ns, **local_ns})
        except (VisionError, UsageError) as error:
            if not options.no_raise:
                raise
            return show_error(error)

    def can_explain(self, error: BaseException) -> bool:
        """Return whether ``%vision fix`` can explain an error."""
        from vision_nb.magics.fix import can_explain

        return can_explain(self.session, error)

    def record_failure(self, result: Any) -> None:
        """Record a failed cell for ``%vision fix``; IPython calls this after each cell."""
        error = result.error_before_exec or result.error_in_exec
        cell = getattr(result.info, "raw_cell", None)
        if error is not None and isinstance(cell, str) and not cell.lstrip().startswith("%vision fix"):
            self.session.failure = cell, error

    def close(self) -> None:
        """Close the session's store and connections."""
        if "session" in self.__dict__:
            self.session.close()
