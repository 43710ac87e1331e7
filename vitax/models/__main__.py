"""Lists every model and size: python -m vitax.models [NAME...]

Parameters and GMACs (10^9 multiply-accumulates of one forward pass, batch 1) are counted here; texts are of full
length, a pair of texts of 64 tokens each. NAT's GMACs include keys that a mask throws away, FNet's lack the Fourier
transforms. The last column is what the authors (or, where it says so, others) report.
"""

import sys

import jax

from vitax.macs import count_macs
from vitax.models import MODELS, variable_shapes
from vitax.models.catalogue import CATALOGUE, Variant, build


def row(variant: Variant) -> tuple[str, ...]:
    """What is known of a variant, as text."""
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
    """Prints the models whose names contain the words of the command line, all if there are none."""
    wanted = [name.lower() for name in sys.argv[1:]]
    if wanted and wanted[0] in ("-h", "--help"):
        print(__doc__)
        return
    chosen = [v for v in CATALOGUE if not wanted or any(w in v.name.lower() or w == v.family for w in wanted)]
    if not chosen:
        known = ", ".join(MODELS)
        sys.exit(f"no model is called {' or '.join(wanted)!r}; families are {known}")
    line = "{:<26}{:>14}{:>9}  {:<44}{:<46}{}"
    print(line.format("model", "parameters", "GMACs", "published", "paper", "config.model").rstrip())
    for variant in chosen:
        print(line.format(*row(variant)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
