"""Whether vitax makes the same tokens of a text as the project that a tokenizer comes from: the files beside it are compared."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitax.data.tokens import Vocabulary
from vitax.errors import UserError

CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
# {key of CONFIG: key of the normalizer "BertNormalizer" in a tokenizer.json}: transformers lets the former override the latter
NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
OWN_NORMALIZER = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that leave a tokenizer.json as it is
SPACES = ("lstrip", "rstrip", "single_word")


def check_tokenizer(file: Path, vocab: Vocabulary) -> str:
    """Checks the tokenizer of weights, and returns a remark for people; "" = everything is recorded.

    Args:
        file: its tokenizer.json or vocab.txt.
        vocab: the same, opened.

    Raises:
        UserError: a file beside it says something that vitax does not apply, or it puts other tokens around a text.
    """
    config = _read(file.with_name(CONFIG))
    if file.suffix != ".txt":
        _check_normalizer(file, vocab, config)
    for source in (CONFIG, SPECIAL):
        _check_special(file, vocab, _read(file.with_name(source)), source)
    for token, number, options, source in _added(file, config):
        known = vocab.tokenizer.get_added_tokens_decoder().get(number)
        if (
            known is None
            or known.content != token
            or any(options.get(k, getattr(known, k)) != getattr(known, k) for k in SPACES)
        ):
            raise UserError(
                f"{source} beside {file} has the token {token!r} with the id {number}, which {file.name} does not have like "
                "that: let transformers write a whole tokenizer.json, AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
            )
    return _check_framing(file, vocab) if file.suffix != ".txt" else ""


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} if there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not an object")
    return found


def _check_normalizer(file: Path, vocab: Vocabulary, config: Mapping[str, Any]) -> None:
    normalizer = json.loads(vocab.to_json()).get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or config.get("tokenizer_class") in OWN_NORMALIZER:
        return
    for theirs, ours in NORMALIZER.items():
        if theirs in config and config[theirs] != normalizer.get(ours):
            raise UserError(
                f"{CONFIG} beside {file} says {theirs}={config[theirs]!r}, and {file.name} {ours}={normalizer.get(ours)!r}: "
                "correct one of them"
            )


def _check_special(file: Path, vocab: Vocabulary, settings: Mapping[str, Any], source: str) -> None:
    own = {"cls": vocab.begin, "sep": vocab.end, "pad": vocab.pad, "mask": vocab.mask, "unk": vocab.unknown}
    for kind, number in own.items():
        named = settings.get(f"{kind}_token")
        named = named.get("content") if isinstance(named, dict) else named
        if named is not None and vocab.tokenizer.token_to_id(str(named)) != number:
            taken = vocab.tokenizer.id_to_token(number) if number >= 0 else None
            raise UserError(f"{source} beside {file} says {kind}_token={named!r}, and vitax takes {taken!r}")


def _added(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, Any], str]]:
    """(token, id, its options, name of the file that says so) of the tokens that files beside a tokenizer add to it."""
    try:
        for number, options in (config.get("added_tokens_decoder") or {}).items():
            yield options["content"], int(number), options, CONFIG
        for token, number in _read(file.with_name(ADDED)).items():
            yield token, int(number), {}, ADDED
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{CONFIG} or {ADDED} beside {file} cannot be read: {type(error).__name__}: {error}") from error


def _check_framing(file: Path, vocab: Vocabulary) -> str:
    """A remark for people if a tokenizer.json does not record what stands around a text.

    Raises:
        UserError: it puts other special tokens around a text than vitax does, or counts it to another segment.
    """
    if json.loads(vocab.to_json()).get("post_processor") is None:
        return ", with a start and an end token added (tokenizer.json has no post_processor that says which)"
    text = "a"
    framed = [token for token in (vocab.begin, *vocab.encode(text), vocab.end) if token >= 0]
    theirs = vocab.tokenizer.encode(text, add_special_tokens=True)
    if theirs.ids != framed:
        shown = [" ".join(str(vocab.tokenizer.id_to_token(token)) for token in ids) for ids in (theirs.ids, framed)]
        raise UserError(
            f"{file} makes {shown[0]!r} of the text 'a', and vitax {shown[1]!r}: correct its post_processor"
        )
    if any(theirs.type_ids):
        raise UserError(f"{file} gives a text the segments {theirs.type_ids}, and vitax 0: correct its post_processor")
    return ""
