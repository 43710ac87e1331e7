"""Which Parquet and Arrow files belong to which split: in a folder, or in a dataset on the hub."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vitax import hub
from vitax.data import remote, urls
from vitax.data.arrow_rows import ENDINGS, check_complete, ordered
from vitax.data.tables import TEST, TRAIN
from vitax.data.tar_index import expanded
from vitax.data.validation import NAMES as VALIDATION
from vitax.errors import UserError

HUB = "hf-dataset:"
LAYOUT = (
    "expected .parquet or .arrow files, as FILE, as DIR/train-00000-of-00002.parquet and DIR/test-*.parquet, as "
    "DIR/train/*.parquet and DIR/test/*.parquet, as datasets.save_to_disk writes them, or as hf-dataset:OWNER/NAME"
)


def split_files(path: str, train: str, test: str) -> list[list[str]]:
    """The files of the training split, and of the test and the validation split where there are any.

    Args:
        path: a file or a folder, also at a URL, or hf-dataset:OWNER/NAME[@REVISION][:FOLDER], of which the files are fetched.
        train, test: names of the splits.

    Raises:
        UserError: there are none, those of a split lie in several folders, or the hub cannot be reached.
    """
    if path.startswith(HUB):
        return _of_hub(path, train, test)
    if urls.is_remote(path):
        return _of_server(path, train, test)
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    if root.is_file():
        return [[str(root)]]
    parts = _grouped([PurePosixPath(file.relative_to(root)) for file in root.rglob("*")], path, train, test)
    return [ordered([root / file for file in part]) for part in parts]


def _of_server(path: str, train: str, test: str) -> list[list[str]]:
    """The files at a URL, in the cache.

    Raises:
        UserError: they cannot be read.
    """
    found, name = expanded(path), path.partition("?")[0]
    if len(found) == 1 and name.endswith(ENDINGS):
        check_complete([name])
        return [[remote.near(path)]]
    above = path.rstrip("/") if len(found) == 1 else path.rpartition("/")[0]
    found = urls.below(above, ENDINGS) if len(found) == 1 else found
    if not found:
        raise UserError(f"{path} holds neither .parquet nor .arrow files; {LAYOUT}")
    parts = _grouped([PurePosixPath(url.removeprefix(above).lstrip("/")) for url in found], path, train, test)
    remote.check_room([f"{above}/{file}" for part in parts for file in part])
    for part in parts:
        check_complete([str(file) for file in part])
    return [[remote.near(f"{above}/{file}") for file in part] for part in parts]


def _of_hub(path: str, train: str, test: str) -> list[list[str]]:
    """The files of a dataset on the hub, in its cache."""
    matched = re.fullmatch(rf"{HUB}([\w.-]+(?:/[\w.-]+)?)(?:@([^:]+))?(?::(.+))?", path)
    if not matched:
        raise UserError(f"data.path={path!r} is not {HUB}OWNER/NAME[@REVISION][:FOLDER]")
    repository, revision, folder = (part or "" for part in matched.groups())
    with hub.explained(path, repository, "dataset"):
        found = [PurePosixPath(file) for file in hub.files(repository, revision, "dataset")]
        inside = [file for file in found if not folder or PurePosixPath(folder) in file.parents]
        if not any(file.suffix in ENDINGS for file in inside):
            raise UserError(
                f"{path} has no .parquet files; the hub converts many datasets itself: "
                f"{HUB}{repository}@refs/convert/parquet"
            )
        parts = _grouped(inside, path, train, test)
        fetched = [[hub.download(repository, str(file), revision, "dataset") for file in part] for part in parts]
    return [ordered(part) for part in fetched]


def _grouped(files: Sequence[PurePosixPath], path: str, train: str, test: str) -> list[list[PurePosixPath]]:
    """The files of each split, by the names of files and folders."""
    known = {train.lower(), test.lower(), *TRAIN, *TEST, *VALIDATION}
    found: dict[str, list[PurePosixPath]] = {}
    for file in sorted(files):
        # datasets keeps its own computations in files cache-*.
        if file.suffix not in ENDINGS or file.name.startswith("cache-") or any(part[0] == "." for part in file.parts):
            continue
        own = {word for word in re.split(r"[-_.]", file.stem.lower()) if word in known}
        if len(own) > 1:
            raise UserError(f"{path} holds {file}, which could be for {' or '.join(sorted(own))}")
        above = [part.lower() for part in file.parts[:-1]]
        split = own.pop() if own else next((part for part in reversed(above) if part in known), "")
        found.setdefault(split, []).append(file)
    if not found:
        raise UserError(f"{path} holds neither .parquet nor .arrow files; {LAYOUT}")
    for split, those in found.items():
        if len(folders := sorted({str(file.parent) for file in those})) > 1:
            raise UserError(
                f"{path} holds several sets of files{f' for {split!r}' if split else ''}, in {', '.join(folders[:4])}: "
                f"set data.path to one of them, such as {path}{':' if path.startswith(HUB) else '/'}{folders[0]}"
            )
    if "" in found and len(found) > 1:
        raise UserError(
            f"{path} holds {found[''][0]}, which is for no split, beside files of {', '.join(filter(None, found))}"
        )

    def named(name: str, usual: Sequence[str]) -> str:
        names = (name.lower(), *(usual if name.lower() in usual else ()))
        return next((each for each in names if each in found), "")

    first, last = named(train, TRAIN), named(test, TEST)
    if not last and test.lower() not in TEST:
        raise UserError(f"{path} holds files for {', '.join(map(repr, found))}, and none for {test!r}: set data.test")
    between = next((name for name in VALIDATION if name in found and name != last), "")
    last, between = (last, between) if last else (between, "")
    if not first and set(found) == {""}:
        return [found[""]]
    if not first:
        raise UserError(f"{path} holds files for {', '.join(map(repr, found))}, and none for {train!r}: set data.train")
    return [found[name] for name in (first, last, between) if name]
