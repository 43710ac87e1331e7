"""The tokenizer beside the weights of a model of texts."""

import json
from pathlib import Path
from typing import Any

from vitax.errors import UserError

TOKENIZERS = ("tokenizer.json", "vocab.txt")
# Keys of a tokenizer_config.json that change the tokens of a vocab.txt, and the values that vitax applies.
WORDPIECE: dict[str, tuple[Any, ...]] = {
    "tokenizer_class": tuple(
        f"{name}Tokenizer{fast}"
        for name in ("Bert", "DistilBert", "Electra", "MobileBert", "PreTrained")
        for fast in ("", "Fast")
    ),
    "strip_accents": (),
    "tokenize_chinese_chars": (True,),
    "do_basic_tokenize": (True,),
    "never_split": ([],),
    "word_tokenizer_type": ("basic",),
    "subword_tokenizer_type": ("wordpiece",),
    "cls_token": ("[CLS]",),
    "sep_token": ("[SEP]",),
    "unk_token": ("[UNK]",),
    "pad_token": ("[PAD]",),
    "mask_token": ("[MASK]",),
}
TEXTS = ("bert", "fnet")  # families of encoders of texts


def tokenizer_beside(folder: Path) -> Path | None:
    """The tokenizer.json or vocab.txt in the folder of the weights; None = there is neither."""
    return next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)


def lowercase_of(vocab: Path) -> bool | None:
    """Whether a vocab.txt is of lower case, from the tokenizer_config.json beside it; None = it does not record it.

    Raises:
        UserError: the file is not a JSON object, the value is neither true nor false, or texts are divided in another way than
            vitax does it.
    """
    path = vocab.parent / "tokenizer_config.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    lowercase = settings.get("do_lower_case") if isinstance(settings, dict) else ""
    if lowercase is not None and not isinstance(lowercase, bool):
        raise UserError(f"{path} does not say whether texts are of lower case: do_lower_case is neither true nor false")
    for key, value in settings.items():
        if isinstance(value, dict):  # a token with its options
            value = value.get("content")
        if key in WORDPIECE and value not in (None, *WORDPIECE[key], *((lowercase,) if key == "strip_accents" else ())):
            raise UserError(
                f"{path} says {key}={value!r}, which vitax does not apply to a vocab.txt: let transformers write a tokenizer.json, "
                "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
            )
    return lowercase
