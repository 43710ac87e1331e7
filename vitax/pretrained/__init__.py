"""Loading and saving of weights in the formats of other projects.

    from vitax import pretrained
    model, variables, report = pretrained.load("vit_base.safetensors")
    model, variables, report = pretrained.load("vit_base.safetensors", image_size=384, num_classes=10)
    model, variables, report = pretrained.load("hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    pretrained.save("mine.safetensors", model, variables, "timm ViT")

``python -m vitax.pretrained FILE`` prints which model a file holds. PyTorch is not needed, and no code from a file
is run.
"""

from vitax.pretrained.adapt import adapt, image_channels, paths
from vitax.pretrained.convert import IMPLIED, NOT_IN_FILES, Loaded, load, load_into, settled
from vitax.pretrained.files import find
from vitax.pretrained.formats import FORMATS, family_of, recognise
from vitax.pretrained.report import Report
from vitax.pretrained.saving import new_folder, save, to_tensors

__all__ = [
    "FORMATS",
    "IMPLIED",
    "NOT_IN_FILES",
    "Loaded",
    "Report",
    "adapt",
    "family_of",
    "find",
    "image_channels",
    "load",
    "load_into",
    "new_folder",
    "paths",
    "recognise",
    "save",
    "settled",
    "to_tensors",
]
