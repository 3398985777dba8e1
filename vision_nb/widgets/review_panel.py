"""A widget to check and correct extracted data beside each image, by keyboard."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.comparison.extraction import Extraction
from vision_nb.comparison.labels import default_annotator
from vision_nb.errors import ImageError, SchemaError, SettingsError, VisionError
from vision_nb.rendering.format import pluralize, type_name
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.schema.fields import flatten, unflatten
from vision_nb.storage.annotations import Review
from vision_nb.widgets import review_form
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.image_viewer import enlarged_image
from vision_nb.widgets.messages import PageWidget, how_to_use
from vision_nb.widgets.prefetch import PrefetchCache
from vision_nb.widgets.review_content import is_unreadable, read_content

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHED_CARDS = 40  # about 8 MB of images
ORDERS = ("doubt", "given")
FILTERS = ("unreviewed", "all")


@dataclass(frozen=True)
class _Step:
    """The state before an accept or a restore, to undo it.

    Attributes:
        row: The row of the image.
        draft: The changes that were not accepted yet, or None.
        is_accept: Whether a review was saved; otherwise, changes were only discarded.
        review: The image's earlier review, or None.
    """

    row: int
    draft: dict[str, Any] | None
    is_accept: bool = False
    review: Review | None = None


@checks_arguments
class ReviewPanel(PageWidget):
    """Show an image beside a form of its data, and let a person correct and accept the data.

    Keys: Enter accepts the data and goes on to the next image; in lists and multi-line text, use Ctrl+Enter. Tab moves
    between the fields, Alt+Left and Alt+Right (or Page Up and Page Down) move between the images, Alt+1 to Alt+9 take
    another model's value, Ctrl+Z undoes the last step, and Esc restores the model's data. In the image, the wheel, +
    and - zoom, 0 fits the width, and the arrow keys move the image.

    Accepted data is saved in the store at once, with the reviewer's name and the time. Changes that are not accepted
    yet are saved too, and appear in the reviewer's next panel. Images that cannot be read are left out.

    Args:
        extraction: The data to review.
        reviewer: The name of the person; None uses the user's name on this machine.
        order: "doubt" starts with the images whose answers failed, were repaired, or differ between the models; "given"
            keeps the order of the images.
        show: "unreviewed" shows the images that nobody has reviewed yet, "all" shows all images.

    Raises:
        SettingsError: No image can be shown, or an argument is invalid.

    >>> from pydantic import BaseModel
    >>> class Size(BaseModel):
    ...     width: int
    ...     height: int
    >>> sizes = vn.extract([vn.samples.path("chart")], Size, model="demo", progress=False)
    >>> panel = vn.ReviewPanel(sizes, reviewer="you")  # displays itself as the last line of a cell
    >>> panel.accept({"width": 1000, "height": 601})  # like changing the form and pressing Enter
    >>> panel
    ReviewPanel(1 of 1 images reviewed): a notebook shows the panel; here, use .set_review(...) of the extraction
    """

    _esm = read_assets("dom.js", "image_viewer.js", "review_fields.js", "kernel_status.js", "review_panel.js")
    _css = read_assets("kernel_status.css", "image_viewer.css", "annotation_panel.css", "review_panel.css", "touch.css")
    card: dict[str, Any]
    _advice = dict.fromkeys(("order", "show"), "pass it to a new panel")

    def __init__(
        self,
        extraction: Extraction,
        *,
        reviewer: str | None = None,
        order: str = "doubt",
        show: str = "unreviewed",
    ) -> None:
        super().__init__()
        if not isinstance(extraction, Extraction):
            raise SettingsError(f"{type_name(extraction, 'A')} cannot be reviewed: pass the result of extract().")
        if reviewer is not None and not isinstance(reviewer, str):
            raise SettingsError(f"reviewer must be a name: got {reviewer!r:.80}.")
        for name, value, allowed in (("order", order, ORDERS), ("show", show, FILTERS)):
            if value not in allowed:
                raise SettingsError(f'{name} must be "{allowed[0]}" or "{allowed[1]}": got {value!r:.80}.')
        self.extraction = extraction
        self.reviewer = replace_surrogates(reviewer or default_annotator())
        self._store = extraction.comparison.store  # stays open, so that a key press does not open it again
        self.card = {}
        self._keys = extraction.review_keys
        by_doubt = extraction.by_doubt()
        rows = [row for row in by_doubt if row in self._keys and not is_unreadable(extraction, row)]
        if not rows:
            raise SettingsError("No image can be shown: see the errors in .failed.")
        self._unreadable = len(by_doubt) - len(rows)
        self._orders = {"doubt": rows, "given": sorted(rows, key=lambda row: min(extraction.rows_of(row)))}
        self._image_counts = Counter(self._keys[row] for row in rows)  # images with the same content
        self._content = PrefetchCache(partial(read_content, extraction), size=_CACHED_CARDS)
        self._undo: list[_Step] = []
        self._order, self._show_filter = order, show
        self._read_reviews()
        self._list_rows()
        self._position = 0
        self._show()

    def __repr__(self) -> str:
        state = f"{self.reviewed} of {self._total} images reviewed"
        return f"ReviewPanel({state}): {how_to_use('review them', '.set_review(...) of the extraction')}"

    @property
    def row(self) -> int:
        """The index of the current image's row in the extraction."""
        return self._rows[self._position]

    @property
    def reviewed(self) -> int:
        """The number of images that somebody has reviewed."""
        return self._reviewed

    @property
    def truth(self) -> Mapping[str, Any]:
        """The reviewed data by image name, for `score`.

        Raises:
            SettingsError: No image has been reviewed.
        """
        return self.extraction.truth()

    def accept(self, value: Any = None) -> None:
        """Save the data of the current image as reviewed, and go on to the next image.

        Args:
            value: The corrected data, as JSON data or as a value of the schema; None accepts the data in the form.

        Raises:
            SchemaError: The data does not match the schema.
        """
        if value is None:
            value, errors = self._checked()
            if errors:
                raise SchemaError(f"The data of {self._name} has errors: see .errors.", errors=errors)
        before, draft = self.extraction.get_review(self.row), self._draft(self.row)
        self.extraction.set_review(self.row, value, reviewer=self.reviewer)
        self._set_draft(self.row, None)
        self._undo.append(_Step(self.row, draft, is_accept=True, review=before))
        self._count(self.row, is_reviewed=True)
        self._show(message=self._go_on())

    def undo(self) -> None:
        """Undo the last accept or restore, and show its image."""
        if not self._undo:
            return
        step = self._undo.pop()
        if step.is_accept:
            if step.review is not None and step.review.reviewer == self.reviewer:
                self._store.put_review(self._keys[step.row], step.review)  # with its time
            else:
                self.extraction.remove_review(step.row, reviewer=self.reviewer)
        self._set_draft(step.row, step.draft)
        self._go_to(step.row)
        self._show()

    def _receive(self, message: dict[str, Any], _: list[Any]) -> None:
        """Handle a message from the page; an error is shown in the panel."""
        try:
            match message:
                case {"action": "ready"}:  # the page was loaded, perhaps after changes elsewhere
                    self._read_reviews()
                    self._show()
                case {"action": str(action), "row": int(row)} if row == self.row:  # not of an earlier card
                    self._keep_draft(row, message.get("values"))
                    self._act(action, message)
                case {"action": "edit", "row": int(row)} if row in self._keys:  # typed just before another card came
                    self._keep_draft(row, message.get("values"))
        except VisionError as error:
            self._show(message=str(error))

    def _act(self, action: str, message: Mapping[str, Any]) -> None:
        match action:
            case "edit":
                self._send_errors(self._checked()[1], is_final=False)
            case "accept":
                value, errors = self._checked()
                if errors:
                    self._send_errors(errors, is_final=True)
                else:
                    self.accept(value)
            case "move" if message.get("by") in (1, -1):
                self._position = max(0, min(len(self._rows) - 1, self._position + message["by"]))
                self._show()
            case "undo":
                self.undo()
            case "restore":
                self._restore()
            case "view" if message.get("order") in ORDERS and message.get("show") in FILTERS:
                row, self._order, self._show_filter = self.row, message["order"], message["show"]
                self._list_rows()
                self._position = self._rows.index(row) if row in self._rows else 0
                self._show()
            case "enlarge":
                self._send_enlarged()

    def _restore(self) -> None:
        """Put the model's data into the form."""
        draft = self._draft(self.row)
        self._keep_draft(
            self.row, review_form.form_values(self._content.get(self.row).model_values, self.extraction.fields)
        )
        if self._draft(self.row) != draft:
            self._undo.append(_Step(self.row, draft))
        self._show()

    def _keep_draft(self, row: int, sent: Any) -> None:
        """Keep the form's values until they are accepted, unless they are the saved ones."""
        if not isinstance(sent, dict):
            return
        values = review_form.clean_values(sent, self.extraction.fields)
        self._set_draft(row, None if values == self._saved_values(row)[0] else values)

    def _draft(self, row: int) -> dict[str, Any] | None:
        """Return the form values that the person has changed and not accepted yet, or None."""
        draft = self._store.draft(self._draft_key(row), self.reviewer)
        return None if draft is None else review_form.clean_values(draft.value, self.extraction.fields)

    def _set_draft(self, row: int, values: dict[str, Any] | None) -> None:
        if values is None:
            self._store.remove_draft(self._draft_key(row), self.reviewer)
        else:
            self._store.put_draft(self._draft_key(row), Review(values, self.reviewer))

    def _draft_key(self, row: int) -> str:
        return f"{self._keys[row]} {self.extraction.schema.digest}"  # form values depend on the fields

    def _saved_values(self, row: int) -> tuple[dict[str, Any], Mapping[str, Any], Review | None]:
        """Return the form values of the review or the model, the same values as JSON data, and the review."""
        review = self.extraction.get_review(row)
        fields = self.extraction.fields
        data = self._content.get(row).model_values if review is None else flatten(review.value, fields)
        return review_form.form_values(data, fields), data, review

    def _checked(self) -> tuple[Any, dict[str, str]]:
        """Return the form's values as JSON data, and what the schema says about them, by path."""
        fields, errors = self.extraction.fields, dict[str, str]()
        saved, saved_data, _ = self._saved_values(self.row)
        values = self._draft(self.row) or saved
        data = {}
        for field in fields:
            value, path = values[field.path], field.path
            is_unchanged = path in saved_data and value == saved[path]  # exactly, whatever the form can display
            data[path] = saved_data[path] if is_unchanged else review_form.read_value(value, field, path, errors)
        nested = unflatten(data, fields)
        try:
            self.extraction.schema.validate(nested)
        except SchemaError as error:
            found = error.errors or {"": str(error)}
            unset = {field.path for field in fields if data[field.path] is None}
            errors = {path: "is required" if path in unset else text for path, text in found.items()} | errors
        return nested, errors

    def _read_reviews(self) -> None:
        """Read once which images are reviewed; otherwise, every key press would read all reviews."""
        self._reviewed_keys = {self._keys[row] for row in self.extraction.reviews()}
        self._total = self._image_counts.total()
        self._reviewed = sum(self._image_counts[key] for key in self._reviewed_keys)

    def _count(self, row: int, *, is_reviewed: bool) -> None:
        """Update the number of reviewed images."""
        key = self._keys[row]
        if is_reviewed and key not in self._reviewed_keys:
            self._reviewed_keys.add(key)
            self._reviewed += self._image_counts[key]
        elif not is_reviewed and key in self._reviewed_keys:
            self._reviewed_keys.remove(key)
            self._reviewed -= self._image_counts[key]

    def _list_rows(self) -> None:
        """List the images to show. Images that are reviewed later stay in the list, so that Back can return to them."""
        rows = self._orders[self._order]
        if self._show_filter == "unreviewed" and self._reviewed < self._total:
            rows = [row for row in rows if self._keys[row] not in self._reviewed_keys]
        self._rows = list(rows)

    def _go_on(self) -> str:
        """Go to the next image, and return a message for the person at the end of the list."""
        missing = self._total - self._reviewed
        if self._position + 1 < len(self._rows):
            self._position += 1
            return "" if missing else "All images are reviewed."
        if not missing:
            return "All images are reviewed."
        if self._show_filter == "unreviewed":
            self._list_rows()
            self._position = 0
            return "Back at the first image that is not reviewed."
        return f"This is the last image; {pluralize(missing, 'image is', 'images are')} not reviewed yet."

    def _go_to(self, row: int) -> None:
        if row not in self._rows:
            self._rows.insert(self._position, row)
        self._position = self._rows.index(row)

    @property
    def _name(self) -> str:
        return self.extraction.document(self.row).title

    def _show(self, *, message: str = "") -> None:
        content = self._content.get(self.row)
        saved, _, review = self._saved_values(self.row)
        draft = self._draft(self.row)
        self._count(self.row, is_reviewed=review is not None)  # it may have been changed elsewhere
        # A message instead of a trait: traits may be saved with the notebook, and images and data with them.
        self.card = {
            "kind": "card",
            **content.card,
            "fields": review_form.form_fields(self.extraction.fields),
            "values": draft or saved,
            "state": self._state(review, has_draft=draft is not None),
            "is_reviewed": review is not None,
            "position": self._position + 1,
            "listed": len(self._rows),
            "total": self._total,
            "reviewed": self._reviewed,
            "unreadable": self._unreadable,
            "order": self._order,
            "show": self._show_filter,
            "can_undo": bool(self._undo),
            "message": message,
        }
        self.send(self.card)
        if self._position + 1 < len(self._rows):
            self._content.prefetch(self._rows[self._position + 1])

    def _state(self, review: Review | None, *, has_draft: bool) -> str:
        if has_draft:
            return "Changed, not accepted yet"
        if review is None:
            return "Not reviewed yet"
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(review.time))
        return f"Reviewed by {review.reviewer} on {written}"

    def _send_errors(self, errors: Mapping[str, str], *, is_final: bool) -> None:
        """Show errors beside their fields.

        Args:
            errors: A sentence by path.
            is_final: Whether the person wanted to accept the data; otherwise, the page leaves out the errors of fields
                that the person has not changed yet.
        """
        review, draft = self.extraction.get_review(self.row), self._draft(self.row)
        state = self._state(review, has_draft=draft is not None)
        errors = {replace_surrogates(path): replace_surrogates(text) for path, text in errors.items()}
        self.send({"kind": "errors", "row": self.row, "errors": errors, "is_final": is_final, "state": state})

    def _send_enlarged(self) -> None:
        try:
            image = enlarged_image(self.extraction.document(self.row))
        except ImageError:
            return
        self.send({"kind": "enlarged", "row": self.row, "image": image})
