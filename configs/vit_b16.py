"""ViT-B/16 from scratch on ImageNet-1k.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 11, the
supervised baseline: 82.3 % top-1 (table 3, "scratch, our impl.", with the moving average). Not run in this project.
Hardware: batch 4096 in bfloat16 needs about 8 accelerators with 80 GB; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/vit_b16.py
    python -m vitax.main --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR

:demo trains a small version of the same model on scikit-learn's 8x8 handwritten digits, offline and on two CPU cores,
in about a minute. It reaches an accuracy of 0.97 to 0.99 on the 359 test digits (the mean of seeds 0, 1 and 2 is
0.976).

    python -m vitax.main --config=configs/vit_b16.py:demo

:small trains a small model from scratch on a folder of small colour images, on a laptop. On re-encoded CIFAR-10 it
reaches an accuracy of 0.540 after 3 epochs, which take 11 minutes on two CPU cores.

    python -m vitax.main --config=configs/vit_b16.py:small --config.data.path=DIR

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
    config.batch_size = 4096
    config.duration = "300 epochs"
    config.model = dict(name="vit", size="B", patch_size=16, drop_path=0.1, dtype="bfloat16")
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
    config.duration = "120 epochs"
    config.model = dict(
        name="vit",
        patch_size=2,
        width=64,
        depth=4,
        num_heads=4,
        mlp_width=256,
        class_token=False,
        pooling="mean",
        drop_path=0.1,
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
    config.optim = dict(name="adamw", learning_rate=2e-3, warmup="10 epochs", weight_decay=0.3, b2=0.95, clip_norm=1.0)
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
    config.model = dict(name="vit", patch_size=4, width=128, depth=6, num_heads=4, mlp_width=256)
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
