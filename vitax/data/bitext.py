"""Texts with their translations: two files with a line for a line, TFDS, or number names made on the spot."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitax.data.source import Splits
from vitax.data.tfds import UnknownDataSet, open_builder
from vitax.errors import UserError

LAYOUT = (
    "expected DIR/train.SOURCE and DIR/train.TARGET, and the same for the test (train.en, train.de; .gz is read too)"
)


class Pairs:
    """Pairs of lines in memory."""

    def __init__(self, pairs: Sequence[tuple[str, str]], origin: str):
        self.pairs, self.origin = list(pairs), origin
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> tuple[str, str]:
        return self.pairs[i]

    def name(self, i: int) -> str:  # with words: what is found by its name has to change with them
        return f"{self.origin}:{i + 1} {' = '.join(text[:40] for text in self.pairs[i])!r}"


class TfdsPairs:
    """A TFDS translation data set, read where it lies."""

    def __init__(self, records, source: str, target: str, origin: str):
        self.records, self.languages, self.origin = records, (source, target), origin
        self.class_names, self.labels = (), None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> tuple[str, str]:
        try:
            record = self.records[i]
        except RuntimeError as error:  # a damaged file
            raise ValueError(str(error)) from error
        first, second = (record[language].decode("utf-8").strip() for language in self.languages)
        return first, second

    def name(self, i: int) -> str:
        return f"{self.origin}[{i}]"


def bitext_files(*, path: str, train: str, test: str, source: str, target: str) -> Splits:
    """DIR/{train,test}.{source,target}, plain or .gz, UTF-8, line n of one is line n of the other.

    Raises:
        UserError: files are missing, or two languages have different numbers of lines.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} is not a folder; {LAYOUT}")
    parts = []
    for split in (train, test):
        files = [_find(root, split, language) for language in (source, target)]
        sides = [_read(file) for file in files]
        if len(sides[0]) != len(sides[1]):
            raise UserError(
                f"{files[0]} has {len(sides[0]):,} lines and {files[1]} {len(sides[1]):,}: they are not parallel; "
                "line n of one must be the translation of line n of the other"
            )
        pairs = [(a, b) for a, b in zip(*sides, strict=True) if a and b]
        if not pairs:
            raise UserError(f"{files[0]} and {files[1]} hold no pair of lines; {LAYOUT}")
        parts.append(Pairs(pairs, str(files[0])))
    return Splits(*parts, origin=f"{path}, {source} to {target}")


def _find(root: Path, split: str, language: str) -> Path:
    for name in (f"{split}.{language}", f"{split}.{language}.gz"):
        if (root / name).is_file():
            return root / name
    there = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) or "nothing"
    raise UserError(
        f"{root} holds no {split}.{language} (it holds {there}); {LAYOUT}; name the splits with data.train and "
        "data.test, the languages with data.source and data.target"
    )


def _read(file: Path) -> list[str]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return [line.strip() for line in data.decode("utf-8-sig").removesuffix("\n").split("\n")]
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from error


def tfds_pairs(name: str, *, path: str, train: str, test: str, source: str, target: str) -> Splits:
    """A prepared TFDS data set with a feature for each language, "wmt14_translate/de-en" for example.

    Raises:
        UserError: it has no feature of that language.
    """
    builder, split = open_builder(name, path)
    features = builder.info.features
    if missing := [language for language in (source, target) if language not in features]:
        raise UserError(
            f"TFDS data set {name} has the features {', '.join(features)}, not {', '.join(missing)}; set data.source "
            "and data.target"
        )
    parts = [TfdsPairs(split(which), source, target, f"{name}/{which}") for which in (train, test)]
    return Splits(*parts, origin=f"TFDS {name}, {source} to {target}")


def number_names(*, path: str, train: str, test: str, source: str, target: str) -> Splits:
    """Numbers below a million in words, by num2words: an exact translation of a small vocabulary.

    Half of the numbers have up to four digits, and no number is in both splits.

    Args:
        source, target: language codes of num2words ("en", "de", "fr", ...), or "digits".

    Raises:
        UserError: a path is given, or a language that num2words does not have.
    """
    from num2words import CONVERTER_CLASSES, num2words

    if path:
        raise UserError(f"data.path={path!r} is given but data.name is 'number_names', which is built in")
    for language in (source, target):
        if language != "digits" and language not in CONVERTER_CLASSES:
            raise UserError(f"num2words has no language {language!r}; choose en, de, fr, es, ...")
    rng = np.random.default_rng(0)
    numbers = np.unique(np.concatenate([rng.integers(0, 10_000, 4_000), rng.integers(0, 10**6, 4_000)]))
    numbers = rng.permutation(numbers).tolist()

    def say(number: int, language: str) -> str:
        return str(number) if language == "digits" else num2words(number, lang=language)

    pairs = [(say(number, source), say(number, target)) for number in numbers]
    parts = [Pairs(some, f"number_names/{split}") for split, some in ((train, pairs[:-400]), (test, pairs[-400:]))]
    return Splits(*parts, origin=f"names of numbers below a million, {source} to {target}")


BITEXT = {"bitext": bitext_files, "number_names": number_names}


def open_pairs(name: str, **arguments: str) -> Splits:
    """The train and test source of that name: a key of BITEXT, or a TFDS name.

    Raises:
        UserError: there is neither.
    """
    try:
        return BITEXT[name](**arguments) if name in BITEXT else tfds_pairs(name, **arguments)
    except UnknownDataSet as error:
        raise UserError(f"data.name={name!r} is none of {', '.join(BITEXT)}, and {error}") from error
