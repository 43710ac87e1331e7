"""Lists every model and size: python -m vitax.models [NAME...]

Parameters and GMACs (10^9 multiply-accumulates of one forward pass, batch 1) are counted by this program. A text has
the model's maximum length (a language model's has 512 tokens); the two texts of a pair have 64 tokens each. NAT's GMACs
include keys that a mask discards; FNet's GMACs lack the Fourier transforms. The column "published" holds the results
that the authors (or, where it says so, others) report.
"""

import sys

import jax

from vitax.macs import count_macs
from vitax.models import MODELS, variable_shapes
from vitax.models.catalogue import CATALOGUE, Variant, build


def row(variant: Variant) -> tuple[str, ...]:
    """The columns of a variant, as text."""
    model, family = build(variant), MODELS[variant.family]
    shapes = variable_shapes(model, variant.family)
    example = family.example(model, 3)
    if variant.side:
        example = (jax.ShapeDtypeStruct((1, variant.side, variant.side, 3), example[0].dtype),)
    macs = count_macs(lambda v, *x: model.apply(v, *x), shapes, *example)
    parameters = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    config = f'name="{variant.family}", size="{variant.size}"'
    config += "".join(f", {key}={value}" for key, value in variant.fields.items())
    return (variant.name, f"{parameters:,}", f"{macs / 1e9:.2f}", variant.published, family.paper, config)


def main() -> None:
    """Prints the models whose name contains, or whose family is, a word of the command line; without words, all."""
    words = [name.lower() for name in sys.argv[1:]]
    if words and words[0] in ("-h", "--help"):
        print(__doc__)
        return
    chosen = [v for v in CATALOGUE if not words or any(w in v.name.lower() or w == v.family for w in words)]
    if not chosen:
        known = ", ".join(MODELS)
        sys.exit(f"no model is called {' or '.join(words)!r}; the families are {known}")
    line = "{:<26}{:>14}{:>9}  {:<44}{:<46}{}"
    print(line.format("model", "parameters", "GMACs", "published", "paper", "config.model").rstrip())
    for variant in chosen:
        print(line.format(*row(variant)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
