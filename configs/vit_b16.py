"""ViT-B/16 from scratch on ImageNet-1k.

Recipe: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377), table 11, the
supervised baseline: 82.3 % top-1 (table 3, "scratch, our impl.", with the moving average). Not run here.
Hardware: batch 4096 in bfloat16 wants about 8 accelerators of 80 GB; on fewer, raise ``accumulate``.

    python -m vitax.main --config=configs/vit_b16.py
    python -m vitax.main --config=configs/vit_b16.py --config.data.name=folder --config.data.path=DIR

:demo is the same model made small, on scikit-learn's 8x8 handwritten digits: two CPU cores, offline.

    python -m vitax.main --config=configs/vit_b16.py:demo
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    if variant == "demo":
        return demo()
    if variant:
        raise ValueError(f"variant {variant!r} is unknown; there is only 'demo'")
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 4096
    config.accumulate = 1
    config.duration = "300 epochs"

    config.model = dict(name="vit", size="B", patch_size=16, drop_path=0.1, dtype="bfloat16")
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.8, cutmix=1.0)
    config.data = dict(
        name="imagenet2012",  # or "folder", with path
        path="",  # empty: ~/tensorflow_datasets
        train="train",
        test="validation",
        test_fraction=0.2,  # only where a folder has no test split of its own
        image_size=(224, 224),
        channels=3,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        crop="random_resized",
        crop_scale=(0.08, 1.0),
        flip=True,
        color_jitter_strength=0.0,
        randaugment_layers=2,
        randaugment_magnitude=9.0,
        erasing=0.0,
        test_crop_fraction=0.875,
        threads=0,
        workers=0,
        cache_gib=0.0,
        max_corrupt=0.01,
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
        clip_norm=0.0,
        ema_decay=0.9999,
    )
    config.evals = dict(every="5 epochs", batch_size=2048, best="test_ema/accuracy", mode="max")
    config.checkpoint = dict(every="1 epoch", keep=2)
    config.log = dict(every="50 steps", profile_at=0, profile_steps=5)
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.accumulate = 1
    config.duration = "60 epochs"

    config.model = dict(
        name="vit", patch_size=2, width=64, depth=6, num_heads=4, mlp_width=256, pooling="mean",
        drop_path=0.1, dtype="float32",
    )  # fmt: skip
    config.task = dict(name="classification", label_smoothing=0.1, mixup=0.0, cutmix=0.0)
    config.data = dict(
        name="digits",
        path="",
        train="train",
        test="test",
        test_fraction=0.2,
        image_size=(8, 8),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        interpolation="bilinear",
        crop="pad",
        crop_padding=1,
        flip=False,
        color_jitter_strength=0.0,
        randaugment_layers=0,
        randaugment_magnitude=9.0,
        erasing=0.0,
        test_crop_fraction=1.0,
        threads=0,
        workers=0,
        cache_gib=1.0,
        max_corrupt=0.01,
    )
    config.optim = dict(
        name="adamw",
        learning_rate=1e-3,
        lr_scaling="none",
        schedule="cosine",
        warmup="5 epochs",
        weight_decay=0.05,
        b1=0.9,
        b2=0.95,
        clip_norm=1.0,
        ema_decay=0.0,
    )
    config.evals = dict(every="10 epochs", batch_size=0, best="test/accuracy", mode="max")
    config.checkpoint = dict(every="10 epochs", keep=2)
    config.log = dict(every="20 steps", profile_at=0, profile_steps=5)
    config.mesh = dict(data=-1, fsdp=1)
    return config
