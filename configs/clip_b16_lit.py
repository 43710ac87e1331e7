"""CLIP with a frozen image tower (LiT): a text tower is trained to match a pre-trained ViT-B/16.

Recipe: Zhai et al. 2021, "LiT: Zero-Shot Transfer with Locked-image text Tuning" (arXiv:2111.07991), section 4: the
text tower learns to match the image tower. The figures of the paper are for pairs that are not public. Not run in
this project.

    python -m vitax.main --config=configs/clip_b16_lit.py --config.data.path=DIR --config.init_from=ViT-B_16.npz

:demo teaches the names of the digits to a small ViT that already classifies them, offline and on two CPU cores. It
names 0.97 of the 359 test digits correctly.

    python -m vitax.main --config=configs/vit_b16.py:demo --workdir=runs/vit
    python -m vitax.main --config=configs/clip_b16_lit.py:demo --config.init_from=runs/vit

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": pairs, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def pairs() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16384
    config.duration = "60000 steps"
    config.init_from = ""  # the folder of a run of ``vit``, or a file of weights
    config.model = dict(
        name="clip",
        image_tower="plain_vit",
        patch_size=16,
        out_width=768,
        text_width=768,
        text_heads=12,
        dtype="bfloat16",
    )
    config.task = dict(name="contrastive")
    config.data = dict(
        name="tars",  # or "table", "folder" (captions from class names), or a TFDS name
        path="",
        image_size=(224, 224),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop="random_resized",
        crop_scale=(0.9, 1.0),
        flip=False,
        test_crop_fraction=1.0,
        tokenizer="",  # CLIP's own tokenizer.json; empty: a BPE is trained on the captions
        vocab_size=49408,
        lowercase=True,
        length=77,
        truncate=True,
        shuffle_window=100_000,  # tars are read in order and shuffled within a window of this many pairs
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        warmup="10000 steps",
        weight_decay=0.1,
        b2=0.95,
        clip_norm=1.0,
        freeze=("^image/",),
    )
    config.evals = dict(every="5000 steps", batch_size=2048)
    config.checkpoint = dict(every="1000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "10 epochs"
    config.init_from = ""  # the folder of a run of vit_b16.py:demo
    config.model = dict(
        name="clip",
        out_width=64,
        image_tower="plain_vit",
        patch_size=2,
        image_width=64,
        image_depth=4,
        image_heads=4,
        image_mlp_width=256,
        image_pooling="mean",
        context_length=16,
        text_width=64,
        text_depth=2,
        text_heads=4,
    )
    config.task = dict(name="contrastive")
    config.data = dict(
        name="digits",
        image_size=(8, 8),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        crop="random_resized",
        crop_scale=(0.6, 1.0),
        flip=False,  # a mirrored 2 is not a 2
        test_crop_fraction=1.0,
        length=16,
        vocab_size=300,
        templates=("a photo of the digit {}.", "the number {}.", "a handwritten {}."),
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        warmup="1 epoch",
        weight_decay=0.1,
        b2=0.98,
        clip_norm=1.0,
        freeze=("^image/",),
    )
    config.evals = dict(every="10 epochs", best="test/zero_shot_accuracy")
    config.checkpoint = dict(every="10 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
