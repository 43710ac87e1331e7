"""SwinV2-T on ImageNet-1k, images of 256x256 and windows of 8x8.

Recipe: Liu et al. 2021, "Swin Transformer V2" (arXiv:2111.09883), appendix A2, and the official configuration files:
81.8 % top-1, 28.3 M parameters. Not run in this project. With windows of 16x16 (``--config.model.window=16``): 82.8 %.
Hardware: batch 1024 in bfloat16 needs 8 accelerators with 16 GB or more; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/swin_v2_t.py
    python -m vitax.main --config=configs/swin_v2_t.py --config.data.name=folder --config.data.path=DIR

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores.
It reaches an accuracy of 0.986 on the 359 test digits.

    python -m vitax.main --config=configs/swin_v2_t.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": imagenet, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def imagenet() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 1024
    config.duration = "300 epochs"
    config.model = dict(name="swin_v2", size="T", drop_path=0.2, dtype="bfloat16")
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.8, cutmix=1.0)
    config.data = dict(
        name="imagenet2012",  # or "folder", with a path
        path="",  # empty: TFDS's own folder, ~/tensorflow_datasets
        train="train",
        test="validation",
        image_size=(256, 256),
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
        name="swin_v2", patch_size=1, width=32, depths=(2, 2), num_heads=(2, 4), window=4, mlp_ratio=2.0, drop_path=0.1
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
