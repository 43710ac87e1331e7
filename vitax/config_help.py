"""The meaning of every key of a config, from the docstrings of the functions that take them."""

from vitax.config import keys
from vitax.docstrings import meanings
from vitax.schema import Config, takers
from vitax.sections import Top

# Keys that choose which functions take the other keys.
CHOOSING = {
    "model.name": "a family of `python -m vitax.models`; it decides which other keys model has.",
    "model.size": 'a published size of that family, whose fields are then the defaults; "" = none.',
    "task.name": "the objective; it decides which other keys task, data and evals have.",
}


def key_meanings(config: Config) -> dict[str, str]:
    """{"section.key": its meaning} of all keys that a resolved config has."""
    described = {key: text for key, text in meanings(Top).items() if key in keys(Top)} | CHOOSING
    for section, functions in takers(config).items():
        for function in functions:
            texts = meanings(function)
            described |= {f"{section}.{key}": texts[key] for key in keys(function) if key in texts}
    return described
