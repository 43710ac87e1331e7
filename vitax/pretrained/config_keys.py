"""Keys of a config.json beside a file of weights: what they mean for our models, and how an object of them is read.

Activation, epsilon, pooling, causality and the number of heads change a model's numbers and leave no tensor. Each key is
a field of our model, or has one value that our model computes, or cannot change a number. Any other value is refused by
name, and so is any other key, unless it is false, null or empty: such a key is taken for an option that is off.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vitax.errors import UserError

Config = Mapping[str, Any]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "quickgelu": "quick_gelu",
    "relu": "relu",
    "swish": "swish",
    "silu": "swish",
}
# Keys that cannot change the output of a model in inference: names, training, generation of texts, special tokens.
INERT = re.compile(
    r"_.*|architectures?|model_type|transformers_version|(torch_)?dtype|torchscript|use_bfloat16|id2label|label2id"
    r"|num_labels|problem_type|finetuning_task|(use_)?return_dict\w*|output_\w+|use_cache|gradient_checkpointing"
    r"|initializer_\w+|init_std|\w*drop(out|path|_path|_rate)\w*|\w*layerdrop|\w+_token_id|encoder_stride|tf_legacy_loss"
    r"|is_encoder_decoder|chunk_size_feed_forward|tie_\w+|tokenizer_class|task_specific_params|prefix|language"
    r"|bad_words_ids|begin_suppress_tokens|suppress_tokens|diversity_penalty|do_sample|early_stopping|num_beams"
    r"|num_beam_groups|num_channels|num_return_sequences|length_penalty|(min|max)_length|(encoder_)?no_repeat_ngram_size"
    r"|remove_invalid_values|repetition_penalty|exponential_decay_length_penalty|temperature|top_[kp]|typical_p"
    r"|force_bos_token_to_be_generated|cross_attention_hidden_size|stage_names|out_features|out_indices"
)


class Key(NamedTuple):
    """A key that is a field of our model.

    Attributes:
        field: name of our field.
        default: value that the other library takes if the key is absent; None = what the tensors tell.
        convert: function from their value to ours.
    """

    field: str
    default: Any = None
    convert: Callable[[Any], Any] = lambda value: value


class Kind(NamedTuple):
    """What the keys of one kind of config mean.

    Attributes:
        formats: formats of the weights that such a config describes.
        keys: {key: our field}.
        fixed: {key: the values that our model computes}; an absent key has the first of them.
        inert: pattern of further keys that change no number.
    """

    formats: tuple[str, ...]
    keys: Mapping[str, Key]
    fixed: Mapping[str, tuple[Any, ...]] = {}
    inert: str = "$^"


def activation(name: Any) -> str:
    """Our name of an activation.

    Raises:
        UserError: vitax does not have it.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"config.json names the activation {name!r}; vitax has {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def tuples(value: Any) -> Any:
    """A value with tuples in place of its lists."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def square(value: Any) -> Any:
    """The side of a square: a number, or a list of two equal ones.

    Raises:
        UserError: the sides differ.
    """
    if isinstance(value, list | tuple):
        if len(set(value)) != 1:
            raise UserError(
                f"config.json has {list(value)}, which is not square; vitax has square patches and windows only"
            )
        return value[0]
    return value


def windows(value: list[Any]) -> tuple[tuple[int, int], ...]:
    """Sides of windows, or pairs of sides, as pairs; () if all of them are 0, which stands for the model's own."""
    pairs = tuple(tuple(side) if isinstance(side, list) else (side, side) for side in value)
    return pairs if any(map(any, pairs)) else ()


def act(default: str, field: str = "activation") -> Key:
    """A key that names an activation, which is ``default`` if the key is absent."""
    return Key(field, default, activation)


def read_keys(kind: Kind, config: Config, where: str = "config.json") -> dict[str, Any]:
    """The fields of one object of a config.

    Raises:
        UserError: a key with another value than our model computes, or an unknown one.
    """
    fields: dict[str, Any] = {}
    for name, key in kind.keys.items():
        value = config.get(name, key.default)
        if value is None or value == "":
            continue
        value = key.convert(value)
        if key.field in fields and fields[key.field] != value:
            raise UserError(
                f"{where} says {name}={value!r}, where vitax has one {key.field}={fields[key.field]!r} for both"
            )
        fields[key.field] = value
    for name, value in config.items():
        if name in kind.keys or INERT.fullmatch(name) or re.fullmatch(kind.inert, name):
            continue
        allowed = kind.fixed.get(name, ())
        if value is None or value in allowed or (name not in kind.fixed and value in (False, "", [], {})):
            continue
        if allowed:
            raise UserError(f"{where} says {name}={value!r}; vitax has such models with {allowed[0]!r} only")
        raise UserError(
            f"{where} says {name}={value!r}, a key that vitax does not know; if you are sure that it does not change the "
            "model, remove it from a copy of that file"
        )
    return fields
