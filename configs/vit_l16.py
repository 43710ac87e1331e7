"""ViT-L/16 from scratch on ImageNet-1k.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 11, the
supervised baseline: 82.6 % top-1 (table 3, "scratch, our impl.", with the moving average). Not run in this project.
Hardware: batch 4096 in bfloat16 needs about 16 accelerators with 80 GB; on fewer, raise ``accumulate``, or set
``model.remat=True`` and ``mesh.fsdp``.

    python -m vitax.main --config=configs/vit_l16.py
    python -m vitax.main --config=configs/vit_l16.py --config.data.name=folder --config.data.path=DIR

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores.
It reaches an accuracy of 0.96 on the 359 test digits.

    python -m vitax.main --config=configs/vit_l16.py:demo

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
    config.batch_size = 4096
    config.duration = "200 epochs"
    config.model = dict(name="vit", size="L", patch_size=16, drop_path=0.2, dtype="bfloat16")
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
        test_crop_fraction=0.875,
        cache_gib=0.0,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-4,
        lr_scaling="linear",  # x batch / 256: the peak is 1.6e-3
        schedule="cosine",
        warmup="20 epochs",
        weight_decay=0.3,
        b1=0.9,
        b2=0.95,
        ema_decay=0.9999,
    )
    config.evals = dict(every="5 epochs", batch_size=2048, best="test_ema/accuracy")
    config.checkpoint = dict(every="1 epoch")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 32
    config.duration = "40 epochs"
    config.model = dict(name="vit", patch_size=2, width=64, depth=8, num_heads=4, mlp_width=256, drop_path=0.2)
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
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="3 epochs", weight_decay=0.3, b2=0.95, clip_norm=1.0)
    config.evals = dict(every="20 epochs", best="test/accuracy")
    config.checkpoint = dict(every="20 epochs")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
