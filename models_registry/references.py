"""References to secrets, `env:NAME` and `file:/path`: no file that people share holds one."""

from __future__ import annotations

import os
from pathlib import Path

FILE_MAX_BYTES = 64 * 1024
FORMS = "env:NAME or file:/path"


class BadReference(Exception):
    """A reference leads nowhere; the message never holds what it leads to."""


def resolve(reference: str) -> str:
    """Return the secret that a reference leads to.

    Raises:
        BadReference: it is none, or what it names is missing or empty.
    """
    form, _, name = reference.partition(":")
    if form == "env" and name:
        # The name stands in the operator's own file.
        secret = os.environ.get(name, "")  # noqa: TID251
    elif form == "file" and name:
        secret = _read(Path(name))
    else:
        raise BadReference(f"must be {FORMS}; a secret never stands here in clear")
    if not secret:
        raise BadReference(f"'{form}:{name}' is empty or not there")
    return secret


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
        if len(content) > FILE_MAX_BYTES:
            raise BadReference(f"'file:{path}' is larger than {FILE_MAX_BYTES} bytes")
        return content.decode().strip()
    except OSError as exc:
        raise BadReference(f"'file:{path}' cannot be read ({exc.strerror})") from exc
    except (UnicodeDecodeError, ValueError):
        raise BadReference(f"'file:{path}' is no text") from None
