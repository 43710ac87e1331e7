"""CLIP ViT-B/32 on image-text pairs.

Recipe: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"
(arXiv:2103.00020), section 2.5 and table 18; 63.3 % zero-shot top-1 on ImageNet after 32 epochs of 400 million pairs
(the released weights, measured by open_clip). Not run in this project.
Hardware: batch 32768 in bfloat16 needs about 16 accelerators with 80 GB; the loss compares the pairs of one batch
with each other, so ``accumulate`` is not a substitute, and the model learns less from a smaller batch.

    python -m vitax.main --config=configs/clip_vit_b32.py --config.data.path=DIR          # tar files of pairs
    python -m vitax.main --config=configs/clip_vit_b32.py --config.data.name=table --config.data.path=pairs.csv
    python -m vitax.predict --workdir=RUN --labels="a dog, a cat" IMAGES...

:demo trains a small version of the same model on scikit-learn\'s 8x8 handwritten digits with captions such as "a
photo of the digit 7.", offline and on two CPU cores. It names 0.95 of the 359 test digits correctly, without a
classification head.

    python -m vitax.main --config=configs/clip_vit_b32.py:demo

:small trains on a folder of small colour images with one subfolder per class; the class names become captions. On
re-encoded CIFAR-10 it names 0.504 of the test images correctly after 2 epochs, which take 17 minutes on two CPU
cores.

    python -m vitax.main --config=configs/clip_vit_b32.py:small --config.data.path=DIR

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": pairs, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def pairs() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32768
    config.duration = "32 epochs"
    config.model = dict(name="clip", size="B/32", dtype="bfloat16")
    config.task = dict(name="contrastive")
    config.data = dict(
        name="tars",  # or "table", "folder" (captions from class names), or a TFDS name
        path="",
        image_size=(224, 224),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
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
        learning_rate=5e-4,
        schedule="cosine",
        warmup="2000 steps",
        weight_decay=0.2,
        b2=0.98,
        epsilon=1e-6,
    )
    config.evals = dict(every="1 epoch", batch_size=2048)
    config.checkpoint = dict(every="1000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "30 epochs"
    config.model = dict(
        name="clip",
        out_width=64,
        image_tower="vit",
        patch_size=2,
        image_width=64,
        image_depth=3,
        image_heads=4,
        image_mlp_width=256,
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
    config.optim = dict(name="adamw", learning_rate=1e-3, warmup="3 epochs", weight_decay=0.1, b2=0.98, clip_norm=1.0)
    config.evals = dict(every="10 epochs", best="test/zero_shot_accuracy")
    config.checkpoint = dict(every="10 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256
    config.duration = "2 epochs"
    config.model = dict(
        name="clip",
        out_width=64,
        image_tower="vit",
        patch_size=4,
        image_width=128,
        image_depth=6,
        image_heads=4,
        image_mlp_width=256,
        context_length=16,
        text_width=64,
        text_depth=2,
        text_heads=4,
    )
    config.task = dict(name="contrastive")
    config.data = dict(
        name="folder",
        path="",
        image_size=(32, 32),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="pad",
        crop_padding=4,
        flip=True,
        test_crop_fraction=1.0,
        length=16,
        vocab_size=300,
        templates=("a photo of a {}.", "a small picture of the {}.", "this is a {}."),
    )
    config.optim = dict(name="adamw", learning_rate=1e-3, warmup="100 steps", weight_decay=0.1, b2=0.98, clip_norm=1.0)
    config.evals = dict(every="1 epoch", batch_size=500, best="test/zero_shot_accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
