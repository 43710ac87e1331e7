"""The tokenizer beside the weights of a model of texts."""

import json
from pathlib import Path

from vitax.errors import UserError

TOKENIZERS = ("tokenizer.json", "vocab.txt")
TEXTS = ("bert", "fnet")  # families of encoders of texts


def tokenizer_beside(folder: Path) -> Path | None:
    """The tokenizer.json or vocab.txt in the folder of the weights; None = there is neither."""
    return next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)


def lowercase_of(vocab: Path) -> bool | None:
    """Whether a vocab.txt is of lower case, from the tokenizer_config.json beside it; None = it does not record it.

    Raises:
        UserError: the file is not a JSON object, or the value is neither true nor false.
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
    return lowercase
