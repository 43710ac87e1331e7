"""Loading and saving of weights in the formats of other projects.

    from vitax import pretrained
    model, variables, report = pretrained.load("vit_base.safetensors")
    model, variables, report = pretrained.load("vit_base.safetensors", image_size=384, num_classes=10)
    pretrained.save("mine.safetensors", model, variables, "timm ViT")

``python -m vitax.pretrained FILE`` prints which model a file holds. PyTorch is not needed, and no code from a file
is run.
"""

from vitax.pretrained.adapt import adapt, paths
from vitax.pretrained.convert import IMPLIED, NOT_IN_FILES, Loaded, load, load_into, save, settled, to_tensors
from vitax.pretrained.formats import FORMATS, family_of, recognise
from vitax.pretrained.report import Report

__all__ = [
    "FORMATS",
    "IMPLIED",
    "NOT_IN_FILES",
    "Loaded",
    "Report",
    "adapt",
    "family_of",
    "load",
    "load_into",
    "paths",
    "recognise",
    "save",
    "settled",
    "to_tensors",
]
