"""The demo server's routes for OpenAI's uploaded files."""

from __future__ import annotations

import uuid
from typing import Any

from vision_nb.demo.faults import Refusal, error_body
from vision_nb.demo.openai.handler import OpenAIHandler, StoredFile
from vision_nb.demo.openai.validation import refuse, validate

_MAX_KEPT = 500
_MAX_LISTED = 10_000
_LIFETIME = (3600, 2_592_000)  # seconds: one hour to 30 days


class Files(OpenAIHandler):
    """Uploads and lists files."""

    async def post(self) -> None:
        """Store the file of a multipart form with the fields "file" and "purpose"."""
        from openai.types.file_purpose import FilePurpose

        for name, found in (
            ("file", self.request.files.get("file")),
            ("purpose", self.get_body_argument("purpose", "")),
        ):
            if not found:
                refuse(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        purpose, part = self.get_body_argument("purpose"), self.request.files["file"][0]
        validate(purpose, FilePurpose, "purpose")
        lifetime = _lifetime(*(self.get_body_argument(f"expires_after[{name}]", "") for name in ("anchor", "seconds")))
        id = f"file-{uuid.uuid4().hex[:22]}"
        self.files[id] = StoredFile(part["filename"], purpose, part["body"], lifetime)
        for old in list(self.files)[:-_MAX_KEPT]:
            del self.files[old]
        await self.send_json(_file_json(id, self.files[id]))

    async def get(self) -> None:
        """List the files, newest first, or in the order and of the purpose in the query."""
        purpose, after = self.get_query_argument("purpose", ""), self.get_query_argument("after", "")
        limit = self.get_query_argument("limit", "")
        found = [_file_json(id, file) for id, file in self.files.items() if purpose in ("", file.purpose)]
        if self.get_query_argument("order", "desc") == "desc":
            found.reverse()
        first = next((index + 1 for index, value in enumerate(found) if value["id"] == after), 0)
        last = first + (int(limit) if limit.isdecimal() else _MAX_LISTED)
        page = found[first:last]
        ids = [value["id"] for value in page]
        ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
        await self.send_json({"object": "list", "data": page, **ends, "has_more": last < len(found)})


class SingleFile(OpenAIHandler):
    """One file."""

    async def get(self, id: str) -> None:
        """Send what is known about the file."""
        await self.send_json(_file_json(id, self._find(id)))

    async def delete(self, id: str) -> None:
        """Delete the file."""
        self._find(id)
        del self.files[id]
        await self.send_json({"id": id, "object": "file", "deleted": True})

    def _find(self, id: str) -> StoredFile:
        file = self.files.get(id)
        if file is None or file.has_expired:
            raise Refusal(404, error_body(f"No such File object: {id}", param="id"))
        return file


class FileContent(SingleFile):
    """The content of one file."""

    async def get(self, id: str) -> None:
        """Send the file's bytes."""
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(self._find(id).data)


def _lifetime(anchor: str, seconds: str) -> int | None:
    """Return after how many seconds a file expires; None if it does not."""
    if not anchor and not seconds:
        return None
    if anchor != "created_at":
        refuse("Invalid value for 'expires_after.anchor': expected 'created_at'.", "expires_after.anchor")
    if not seconds.isdecimal() or not _LIFETIME[0] <= int(seconds) <= _LIFETIME[1]:
        limits = f"between {_LIFETIME[0]} and {_LIFETIME[1]}"
        refuse(f"Invalid value for 'expires_after.seconds': expected an integer {limits}.", "expires_after.seconds")
    return int(seconds)


def _file_json(id: str, file: StoredFile) -> dict[str, Any]:
    return {
        "id": id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": file.created,
        "expires_at": file.expires,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
