"""Files on the Hugging Face hub, in its cache: weights and datasets.

Downloads, the cache and access are those of ``huggingface_hub``: HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean
what they mean everywhere. An interrupted download is resumed.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vitax.errors import UserError, in_one_line

KINDS = {"model": "model", "dataset": "dataset"}


def download(repository: str, file: str, revision: str = "", kind: str = "model") -> Path:
    """One file in the cache, whose checksum fits; it is fetched if it is not there.

    Args:
        repository: "OWNER/NAME".
        file: its path in the repository.
        revision: a branch, tag or commit; "" = the main branch.
        kind: "model" or "dataset".

    Raises:
        UserError: the checksum is not the one that the hub records; other errors are those of ``huggingface_hub``, see
            `explained`.
    """
    from huggingface_hub import HfApi

    path = Path(HfApi().hf_hub_download(repository, file, revision=revision or None, repo_type=kind))
    _verify(path)
    return path


def files(repository: str, revision: str = "", kind: str = "model") -> tuple[str, ...]:
    """The files of a repository; if HF_HUB_OFFLINE is set, those that it had when it was listed last.

    Raises:
        Exception: those of ``huggingface_hub``, see `explained`.
    """
    from huggingface_hub import HfApi, constants, errors

    # Beside the hub's own cache, which has the files that were fetched, and not the names of the others.
    listing = (
        Path(constants.HF_HUB_CACHE) / f".vitax-{kind}-{quote(repository, safe='')}@{quote(revision, safe='')}.json"
    )
    if is_offline():
        try:
            return tuple(json.loads(listing.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise errors.OfflineModeIsEnabled("the files of the repository are not known") from error
    info: Any = HfApi().repo_info(repository, revision=revision or None, repo_type=kind)
    names = tuple(file.rfilename for file in info.siblings or ())
    with contextlib.suppress(OSError):
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text(json.dumps(names), encoding="utf-8")
    return names


def is_offline() -> bool:
    """True if HF_HUB_OFFLINE forbids a connection."""
    from huggingface_hub.constants import is_offline_mode

    return is_offline_mode()


def _verify(path: Path) -> None:
    """Raises an error if a file in the cache has another checksum than the hub records.

    The cache names the contents of files by the checksums that the hub records: SHA-256 of large files, and git's SHA-1
    of small ones. Where the file system has no links there are no such names; the length was compared by the library.
    """
    contents = path.resolve()
    expected = contents.name
    if contents.parent.name != "blobs" or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", expected):
        return
    with contents.open("rb") as file:
        if len(expected) == 64:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            found = hashlib.sha1(b"blob %d\0" % contents.stat().st_size + file.read()).hexdigest()
    if found != expected:
        raise UserError(f"{path} is damaged: its checksum is {found}, not {expected}; delete {contents} and try again")


@contextlib.contextmanager
def explained(name: str, repository: str, kind: str = "model") -> Iterator[None]:
    """Turns what ``huggingface_hub`` raises into a sentence.

    Args:
        name: what the user has written, for messages.
        repository: "OWNER/NAME".
        kind: "model" or "dataset".

    Raises:
        UserError: the hub has no such thing, or it cannot be reached.
    """
    from huggingface_hub import constants, errors

    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError as error:
        place = "datasets/" if kind == "dataset" else ""
        page = f"{constants.ENDPOINT}/{place}{repository}"
        raise UserError(
            f"{name} is gated: ask for access at {page}, then set HF_TOKEN or use `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{constants.ENDPOINT} has no {KINDS[kind]} {repository}, or it is private: then set HF_TOKEN or use "
            "`hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name}: the {KINDS[kind]} has no such revision") from error
    except errors.OfflineModeIsEnabled as error:
        raise UserError(f"{name} needs the hub, and HF_HUB_OFFLINE forbids a connection") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{name} cannot be fetched from {constants.ENDPOINT}, and a part of it is not in the cache: {in_one_line(error)}; "
            "what was downloaded is kept"
        ) from error
    except Exception as error:  # the kinds of errors depend on the library's own library for HTTP
        raise UserError(
            f"{name} cannot be fetched from {constants.ENDPOINT}: {type(error).__name__}: {in_one_line(error)}; with "
            "HF_HUB_OFFLINE=1 only the cache is used"
        ) from error
