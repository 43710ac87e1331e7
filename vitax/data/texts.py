"""Running text: documents made of lines, which are read from their files on demand."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.cached_copy import cached_copy
from vitax.data.lines import Lines, Memory
from vitax.data.prose import sentences, topic_texts
from vitax.data.source import Splits
from vitax.data.table_splits import SPLITS
from vitax.data.tables import TEST, TRAIN, check_named, parsed
from vitax.data.textfile import kind_of, uncompressed
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")
LAYOUT = (
    "expected text files with one sentence or paragraph per line and an empty line between documents, as FILE.txt, "
    "as DIR/*.txt, or as DIR/train*.txt and DIR/test*.txt (and DIR/val*.txt); or .jsonl with a document in each line, "
    '{"text": "..."}; either may be compressed: .gz, .zst'
)
KINDS = (".txt", ".jsonl")


class Part:
    """Some lines of a text: whole documents or, if the text is one document, its beginning or its end.

    Args:
        whole: the text.
        keep: [n] bool, whether a line belongs to the part.
    """

    def __init__(self, whole: Lines | Memory, keep: np.ndarray):
        self.whole, self.class_names, self.labels, self.keep = whole, (), None, keep
        self.index = np.flatnonzero(keep)
        self.document = whole.document[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> str:
        return self.whole[int(self.index[i])]

    def raw(self, i: int) -> str:
        """Line i with its indentation and the newline at its end."""
        return self.whole.raw(int(self.index[i]))

    def in_pieces(self, limit: int, size: int) -> "Part":
        """The same lines with long ones in pieces, see `Lines.in_pieces`."""
        whole: Any = self.whole.in_pieces(limit, size)
        return self if whole is self.whole else Part(whole, self.keep[whole.line])

    def name(self, i: int) -> str:
        return self.whole.name(int(self.index[i]))


def held_back(text: Lines | Memory | Part, share: float) -> tuple[Part, Part]:
    """What remains of a text if a share of its documents is held back, and what is held back.

    At least one document is held back; of a text that is one document, the last lines are.

    Raises:
        ValueError: there are fewer than two lines.
    """
    if len(text) < 2:
        raise ValueError(f"there are {len(text)} lines, but at least two are needed to hold one back")
    documents = np.unique(text.document)
    if len(documents) < 2:
        held = np.arange(len(text)) >= len(text) - min(max(1, round(share * len(text))), len(text) - 1)
    else:
        held = np.isin(text.document, documents[drawn(len(documents), share)[1]])
    whole, lines = (text.whole, text.index) if isinstance(text, Part) else (text, np.arange(len(text)))
    parts = []
    for chosen in (~held, held):
        keep = np.zeros(len(whole), bool)
        keep[lines[chosen]] = True
        parts.append(Part(whole, keep))
    return parts[0], parts[1]


def split_documents(whole: Lines | Memory, fraction: float, origin: str) -> Splits:
    """Holds back a share of the documents for the test, see `held_back`.

    Raises:
        UserError: ``fraction`` is not in (0, 1), or there are fewer than two lines.
    """
    if not 0 < fraction < 1:
        raise UserError(f"config.data.test_fraction={fraction} must lie in (0, 1)")
    if len(whole) < 2:
        raise UserError(f"{origin} holds {len(whole)} lines, but at least two are needed; {LAYOUT}")
    train, test = held_back(whole, fraction)
    count, tested = len(np.unique(whole.document)), len(np.unique(test.document))
    held = f"{tested} of {count:,} documents" if count > 1 else "the end of the one document"
    return Splits(train, test, f"{origin}, {held} held back for the test")


def text_files(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Opens text files: ``path/train*.txt`` and ``path/test*.txt``, or all .txt files of a folder, or one file.

    Args:
        path: a text file, or a folder with text files.
        train, test: beginnings of the names of the files of each split, or words in them, as in "wiki.train.txt".
        test_fraction: share of the documents that is held back if there are not files for both splits.

    Raises:
        UserError: ``path`` does not exist or holds no text, or it is not clear what is for the test.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        raise UserError(f"data.path={path!r} does not exist; {LAYOUT}")
    if root.is_dir():
        texts = sorted(file for file in root.iterdir() if file.is_file() and kind_of(file) in KINDS)
        if packed := next((file for file in texts if file.with_suffix("") in texts), None):
            raise UserError(f"{packed} and {packed.with_suffix('')} seem to be the same text; remove one of them")
        found = {split: [file for file in texts if _belongs(file.name, split)] for split in (train, test, *VALIDATION)}
        if twice := [file.name for file in texts if sum(file in files for files in found.values()) > 1]:
            raise UserError(f"{path}: {twice[0]} could be of two splits, by its name; {LAYOUT}")
        validation = next((split for split in VALIDATION if split != test and found[split]), None)
        if not found[test] and test == "test" and validation:
            test, validation = validation, None
        if found[train] and found[test]:
            splits = [train, test] if validation is None else [train, test, validation]
            if rest := [file.name for file in texts if not any(file in found[split] for split in splits)]:
                LOGGER.warning("%s: left aside, as of no split: %s", path, ", ".join(rest[:8]))
            lines = [_lines(found[split]) for split in splits]
            for split, part in zip(splits, lines, strict=True):
                if not len(part):
                    raise UserError(f"the files {split}* of {path} hold no text; {LAYOUT}")
            origin = f"{len(found[train])} text files of {path}" + (
                f", best checkpoint chosen on {validation!r}" if validation else ""
            )
            return Splits(lines[0], lines[1], origin, *lines[2:])
        if found[test]:
            raise UserError(f"{found[test][0]} is for the test, but no file of {path} is named {train}*; {LAYOUT}")
        if found[train] and (rest := [file.name for file in texts if file not in found[train]]):
            raise UserError(f"{path}: {rest[0]} is of no split, by its name, and {found[train][0].name} is; {LAYOUT}")
        files = texts
    else:
        files = [root]
    if not files:
        raise UserError(f"{path} holds no .txt files; {LAYOUT}")
    check_named(path, train, test)
    for file in files:
        _refuse_splits(file)
    return split_documents(_lines(files), test_fraction, path)


def _belongs(name: str, split: str) -> bool:
    """Whether the name of a file has that of a split as a word: "train-2.txt" and "wiki.train.txt", but not "trains.txt"."""
    return bool(re.search(rf"(?:^|[^a-z0-9]){re.escape(split.lower())}(?![a-z])", name.lower()))


def _refuse_splits(file: Path) -> None:
    """Refuses a .jsonl of which a key says to which split a document belongs: they would be parted at random.

    Raises:
        UserError: its first document has such a key.
    """
    if kind_of(file) != ".jsonl":
        return
    with uncompressed(file) as stream:
        first = next((line for line in stream if line.strip()), b"{}")
    try:
        found = json.loads(first)
    except ValueError:  # it is said where the documents are read
        return
    row = {str(key).lower(): str(value).lower() for key, value in found.items()} if isinstance(found, dict) else {}
    if key := next((key for key in SPLITS if row.get(key) in (*TRAIN, *TEST, *VALIDATION)), ""):
        raise UserError(
            f"{file} has a key {key!r}: write the documents of each split to files of their own, train.jsonl and test.jsonl"
        )


def _lines(files: list[Path]) -> Lines:
    """The lines of files, which have the names of the user's files, not of their copies."""
    return Lines([readable(file) for file in files], [str(file) for file in files])


def readable(file: Path) -> str:
    """The path of a plain text with the same documents: the file itself, or a copy of a compressed one or of a .jsonl.

    In the copy of a .jsonl each document ends with an empty line, and its own empty lines are left out.

    Raises:
        UserError: the file cannot be read, or a line of a .jsonl is no object with a text.
    """
    if file.suffix == ".txt" or kind_of(file) not in KINDS:
        return str(file)

    def write(path: Path) -> None:
        with uncompressed(file) as source, path.open("wb") as out:
            if kind_of(file) == ".txt":
                shutil.copyfileobj(source, out)
                return
            for number, line in enumerate(source, 1):
                if line.strip():
                    lines = _document(file, number, line).replace("\r\n", "\n").split("\n")
                    out.write("".join(f"{text}\n" for text in lines if text.strip()).encode() + b"\n")

    return cached_copy(str(file), "documents as lines", ".txt", write)


def _document(file: Path, number: int, line: bytes) -> str:
    """The text in a line of a .jsonl."""
    found = parsed(line, f"{file}: line {number}")
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        keys = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        raise UserError(f'{file}: line {number} holds no "text": {keys}')
    return text


def topics(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """English prose that comes with Python: the language reference, as ``help()`` shows it; a topic is a document.

    The text differs slightly between versions of Python.

    Args:
        path: must be empty, because the data are built in.
        train, test: not used.
        test_fraction: share of the documents that is held back.

    Raises:
        UserError: a path is given.
    """
    if path:
        raise UserError(f"data.path={path!r} is given but data.name is 'topics', which is built in")
    documents = [sentences(text) for text in topic_texts().values()]
    origin = "the language reference in pydoc_data.topics"
    return split_documents(Memory([d for d in documents if d], origin), test_fraction, origin)


def number_lines(*, path: str, train: str, test: str, test_fraction: float) -> Splits:
    """Lines such as "217 = two hundred and seventeen", each a document; no number is in both splits.

    Args:
        path: must be empty, because the data are generated.
        train, test: names of the splits.
        test_fraction: not used.

    Raises:
        UserError: a path is given.
    """
    from vitax.data.bitext import number_names

    pairs: Any = number_names(
        path=path, train=train, test=test, source="digits", target="en", test_fraction=test_fraction
    )
    parts = [Memory([[f"{a} = {b}"] for a, b in part.pairs], pairs.origin) for part in pairs[:2]]
    return Splits.of(parts, pairs.origin)


TEXTS = {"text": text_files, "topics": topics, "number_lines": number_lines}
