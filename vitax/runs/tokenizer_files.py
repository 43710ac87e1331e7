"""A check that vitax makes the tokens that a tokenizer's own project makes, from the files beside the tokenizer."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitax.data.tokens import Vocabulary
from vitax.errors import UserError
from vitax.pretrained.files import read_object

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
    config = read_object(file.with_name(CONFIG))
    if file.suffix != ".txt":
        _check_normalizer(file, vocab, config)
    _check_special(file, vocab, config, CONFIG)
    _check_special(file, vocab, read_object(file.with_name(SPECIAL)), SPECIAL)
    own = vocab.tokenizer.get_added_tokens_decoder()
    for token, number, options, source in _added(file, config):
        known = own.get(number)
        same = known is not None and known.content == token
        if not same or any(options.get(key, getattr(known, key)) != getattr(known, key) for key in SPACES):
            raise UserError(
                f"{source} beside {file} has the token {token!r} with the id {number}, which {file.name} lacks or has with other "
                "options: let transformers write a whole tokenizer.json, AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
            )
    return _check_framing(file, vocab) if file.suffix != ".txt" else ""


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
        if named is None:
            continue
        theirs = vocab.tokenizer.token_to_id(str(named))  # None = a token without weights, which no text has
        if theirs != number and (theirs is not None or number >= 0):
            taken = vocab.tokenizer.id_to_token(number) if number >= 0 else None
            raise UserError(f"{source} beside {file} says {kind}_token={named!r}, and vitax takes {taken!r}")


def _added(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, int, dict[str, Any], str]]:
    """(token, id, its options, name of the file that says so) of the tokens that files beside a tokenizer add to it."""
    try:
        for number, options in (config.get("added_tokens_decoder") or {}).items():
            yield options["content"], int(number), options, CONFIG
        for token, number in read_object(file.with_name(ADDED)).items():
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
