"""Swin-T on ImageNet-1k.

Recipe: Liu et al. 2021, "Swin Transformer" (arXiv:2103.14030), section 4.1, and the official configuration files:
81.2 % top-1, 28.3 M parameters. Not run in this project.
Hardware: batch 1024 in bfloat16 needs 8 accelerators with 16 GB or more; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/swin_t.py
    python -m vitax.main --config=configs/swin_t.py --config.data.name=folder --config.data.path=DIR

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores.
It reaches an accuracy of 0.98 on the 359 test digits.

    python -m vitax.main --config=configs/swin_t.py:demo

:small trains a small model from scratch on a folder of small colour images, on a laptop. On re-encoded CIFAR-10 it
reaches an accuracy of 0.521 after 3 epochs, which take 12 minutes on two CPU cores.

    python -m vitax.main --config=configs/swin_t.py:small --config.data.path=DIR

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 1024
    config.duration = "300 epochs"
    config.model = dict(name="swin", size="T", drop_path=0.2, dtype="bfloat16")
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.8, cutmix=1.0)
    config.data = dict(
        name="imagenet2012",  # or "folder", with a path
        path="",  # empty: TFDS's own folder, ~/tensorflow_datasets
        train="train",
        test="validation",
        image_size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop="random_resized",
        flip=True,
        randaugment_layers=2,
        randaugment_magnitude=9.0,
        erasing=0.25,
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        warmup="20 epochs",
        final_learning_rate=1e-5,
        weight_decay=0.05,
        clip_norm=5.0,
    )
    config.evals = dict(every="5 epochs", batch_size=1024, best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "100 epochs"
    config.model = dict(
        name="swin", patch_size=1, width=32, depths=(2, 2), num_heads=(2, 4), window=4, mlp_ratio=2.0, drop_path=0.1
    )
    config.task = dict(name="classification", label_smoothing=0.1)
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
    )
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="8 epochs", weight_decay=0.3, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="20 epochs", best="test/accuracy")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.duration = "3 epochs"
    config.model = dict(name="swin", patch_size=4, width=96, depths=(2, 4), num_heads=(3, 6), window=4, drop_path=0.1)
    config.task = dict(name="classification", label_smoothing=0.1)
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
    )
    config.optim = dict(name="adamw", learning_rate=1e-3, warmup="200 steps", weight_decay=0.05, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="1 epoch", batch_size=500, best="test/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
