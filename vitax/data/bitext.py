"""Texts with their translations: from two parallel files, tables or TFDS, or number names that are generated."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vitax.data.arrow_rows import ENDINGS as ARROW
from vitax.data.pair_tables import LAYOUT, Pairs, pairs_in, pairs_of
from vitax.data.source import Splits
from vitax.data.table_splits import split_parts
from vitax.data.tables import check_named, tables_of
from vitax.data.textfile import kind_of, lines_of, read_text
from vitax.data.tfds import UnknownDataSet, open_builder
from vitax.data.validation import NAMES as VALIDATION
from vitax.data.validation import drawn
from vitax.errors import UserError

LOGGER = logging.getLogger("vitax")


class TfdsPairs:
    """A TFDS translation dataset; each record is read from its file on demand."""

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


def bitext_files(*, path: str, train: str, test: str, source: str, target: str, test_fraction: float) -> Splits:
    """Opens the parallel text files PATH/{train,test}.{source,target}, or tables of pairs.

    The files are UTF-8, plain or .gz. Line n of one language is the translation of line n of the other; pairs with an
    empty line are left out.

    Args:
        path: folder with the files, or one table of pairs.
        train, test: names of the splits, with which the names of the files begin.
        source, target: languages, with which the names of the files end.
        test_fraction: share of the pairs of one table that is held back for the test.

    Raises:
        UserError: files are missing or unreadable, or two languages have different numbers of lines.
    """
    root = Path(path).expanduser()
    if path and root.is_file():
        if kind_of(root) in (".jsonl", *ARROW):
            parts, where = split_parts(path, train, test, LAYOUT)
            if len(parts) > 1:
                opened = [pairs_in(part, source, target) for part in parts]
                return Splits(opened[0], opened[1], f"{where}, {source} to {target}", *opened[2:])
        check_named(path, train, test)
        whole = pairs_of(root, source, target)
        if len(whole) < 2 or not 0 < test_fraction < 1:
            raise UserError(f"{path} has {len(whole)} pairs; two are needed, and a data.test_fraction in (0, 1)")
        held_back = [whole.of(index.tolist()) for index in drawn(len(whole), test_fraction)]
        return Splits.of(held_back, f"{path}, {source} to {target}, {test_fraction:.0%} held back for the test")
    if path and root.is_dir() and not _file(root, train, source):
        learned, tested, between = tables_of(root, train, test)
        if learned and tested:
            opened = [pairs_of(file, source, target) for file in (learned, tested, between) if file]
            best = f", best checkpoint chosen on {between}" if between else ""
            return Splits(opened[0], opened[1], f"{learned} and {tested}, {source} to {target}{best}", *opened[2:])
    if not path or not root.is_dir():
        raise UserError(f"data.path={path!r} is not a folder; {LAYOUT}")
    validation = next((name for name in VALIDATION if name != test and _file(root, name, source)), None)
    splits = [train, test] if validation is None else [train, test, validation]
    sources = [_parallel(*(_find(root, split, language) for language in (source, target))) for split in splits]
    origin = f"{path}, {source} to {target}" + (f", best checkpoint chosen on {validation!r}" if validation else "")
    return Splits(sources[0], sources[1], origin, *sources[2:])


def _parallel(*files: Path) -> Pairs:
    """The pairs of lines of two files; pairs with an empty side are left out, aloud.

    Raises:
        UserError: the files differ in their numbers of lines, or hold no pair.
    """
    sides = [_read(file) for file in files]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{files[0]} has {len(sides[0]):,} lines but {files[1]} has {len(sides[1]):,}, so they are not "
            "parallel; line n of one file must be the translation of line n of the other"
        )
    kept = [n for n, (a, b) in enumerate(zip(*sides, strict=True), 1) if a and b]
    pairs = [(sides[0][n - 1], sides[1][n - 1]) for n in kept]
    if len(pairs) < len(sides[0]):
        empty = sorted(set(range(1, len(sides[0]) + 1)) - set(kept))
        LOGGER.warning(
            "%s and %s: %s of %s pairs are left out because a side is empty (line %s)",
            *files,
            f"{len(empty):,}",
            f"{len(sides[0]):,}",
            ", ".join(map(str, empty[:5])),
        )
    if not pairs:
        raise UserError(f"{files[0]} and {files[1]} hold no pair of non-empty lines; {LAYOUT}")
    return Pairs(pairs, str(files[0]), kept)


def _file(root: Path, split: str, language: str) -> Path | None:
    files = (root / name for name in (f"{split}.{language}", f"{split}.{language}.gz"))
    return next((file for file in files if file.is_file()), None)


def _find(root: Path, split: str, language: str) -> Path:
    if file := _file(root, split, language):
        return file
    existing = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) or "nothing"
    raise UserError(
        f"{root} holds no {split}.{language} (it holds {existing}); {LAYOUT}; name the splits with data.train and "
        "data.test, and the languages with data.source and data.target"
    )


def _read(file: Path) -> list[str]:
    return [line.strip() for line in lines_of(read_text(file))]


def tfds_pairs(name: str, *, path: str, train: str, test: str, source: str, target: str) -> Splits:
    """Opens a prepared TFDS dataset with a feature for each language, for example "wmt14_translate/de-en".

    Args:
        name: name of the dataset.
        path: TFDS's data_dir; empty = the default of `vitax.data.tfds.tfds`.
        train, test: names of the splits.
        source, target: languages, which are names of features.

    Raises:
        UnknownDataSet: TFDS knows no dataset with this name.
        UserError: the dataset cannot be opened, or it has no feature for one of the languages.
    """
    builder, split = open_builder(name, path)
    features = builder.info.features
    if missing := [language for language in (source, target) if language not in features]:
        raise UserError(
            f"TFDS dataset {name} has the features {', '.join(features)}, not {', '.join(missing)}; set data.source "
            "and data.target"
        )
    parts = [TfdsPairs(split(which), source, target, f"{name}/{which}") for which in (train, test)]
    return Splits.of(parts, f"TFDS {name}, {source} to {target}")


def number_names(*, path: str, train: str, test: str, source: str, target: str, test_fraction: float) -> Splits:
    """Numbers below a million in words, made with num2words: exact translations with a small vocabulary.

    Almost half of the numbers have up to four digits, and no number is in both splits.

    Args:
        path: must be empty, because the data are generated.
        train, test: not used.
        source, target: language codes of num2words ("en", "de", "fr", ...), or "digits".
        test_fraction: not used.

    Raises:
        UserError: a path is given, or num2words does not have one of the languages.
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
    parts = [Pairs(part, f"number_names/{split}") for split, part in (("train", pairs[:-400]), ("test", pairs[-400:]))]
    return Splits.of(parts, f"names of numbers below a million, {source} to {target}")


BITEXT: dict[str, Callable[..., Splits]] = {"bitext": bitext_files, "number_names": number_names}


def open_pairs(name: str, **arguments: Any) -> Splits:
    """Opens the train and the test source with a given name.

    Args:
        name: a key of BITEXT, or the name of a TFDS dataset.
        arguments: ``path``, ``train``, ``test``, ``source``, ``target`` and ``test_fraction``; see the openers.

    Raises:
        UserError: no source has this name, or its data cannot be used.
    """
    try:
        if name in BITEXT:
            return BITEXT[name](**arguments)
        return tfds_pairs(name, **{key: value for key, value in arguments.items() if key != "test_fraction"})
    except UnknownDataSet as error:
        raise UserError(f"data.name={name!r} is not one of {', '.join(BITEXT)}, and {error}") from error


def languages_of(files: list[Path]) -> tuple[str, str] | None:
    """The languages of files train.SOURCE and train.TARGET, which may be compressed."""
    found = sorted({kind_of(file)[1:] for file in files if file.name.startswith("train.")})
    found = [
        ending
        for ending in found
        if re.fullmatch(r"[a-z]{2,3}(_[a-zA-Z]{2})?", ending) and ending not in ("txt", "csv", "tsv")
    ]
    if len(found) != 2:
        return None
    return ("en", next(each for each in found if each != "en")) if "en" in found else (found[0], found[1])
