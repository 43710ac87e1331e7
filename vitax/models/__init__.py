"""One paper, one file. MODELS names each module class together with its published sizes."""

from vitax.models import vit

# name in a config -> (module class, {size: fields})
MODELS = {
    "vit": (vit.ViT, vit.SIZES),
}
