"""The request for an import as Cordial's contract has it: where the file is, what its columns are. Pure, no I/O."""

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from service.config.settings import AccountSettings
from service.deliver.cordial.requests import Request
from service.model.imports import DELIMITER, NULL_MARKER, ImportPart, Strategy, file_columns

FILES_PATH = "/imports"
USER = "cordial"


def create_import(
    settings: AccountSettings, strategy: Strategy, lists: Sequence[str], *, import_name: str, file_name: str
) -> Request:
    """Return what has Cordial fetch a file and set its memberships of `lists`.

    `file_name` is the secret part of the file's URL; the account's password for files, if it has one, is asked for besides.
    Contacts are only updated, or else created with the status `none`: an import subscribes whom it creates unless told
    otherwise (R14). Raises `OSError` or `LookupError` when the password cannot be read.
    """
    password = settings.import_passwords[0].read() if settings.import_passwords else ""
    url = urlsplit(settings.public_url)
    login = f"{USER}:{quote(password, safe='')}@" if password else ""
    body: dict[str, Any] = {
        "importName": import_name,
        "source": {
            "transport": url.scheme,
            "url": f"{url.scheme}://{login}{url.netloc}{url.path}{file_path(file_name)}",
        },
        "hasHeader": False,
        "columns": file_columns(strategy, lists),
        "delimiter": DELIMITER,
        "nullMarker": NULL_MARKER,
        "strategy": strategy.value,
        "suppressTriggers": settings.suppress_triggers,
        "jobStatusWebhookUrl": f"{settings.public_url}{file_path(file_name)}/status",
    }
    return Request("POST", "/contactimports", "contactimports", body)


def import_name(part: ImportPart, digest: bytes) -> str:
    """Return what an import is called in Cordial: another name for each time that the part is given to Cordial.

    It serves to find the job whose id was never told. It tells eight digits of the digest, and nothing of the file's
    name.
    """
    return f"heap-cordial {part.import_id}-{part.id}-{digest.hex()[:8]}"


def digest_of(name: str) -> bytes:
    """Return what the store knows of a file's name: enough to recognise it, too little to make it."""
    return hashlib.sha256(name.encode()).digest()


def file_path(name: str) -> str:
    """Return the path of a file of that name."""
    return f"{FILES_PATH}/{name}.csv"
