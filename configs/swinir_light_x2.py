"""SwinIR, lightweight super-resolution by 2.

Recipe: Liang et al. 2021, "SwinIR" (arXiv:2108.10257), section 4.2 and the official training code, on DIV2K: Set5
38.14 dB, 0.9611 (PSNR and SSIM on Y, border of 2 cropped). Not run in this project.
Hardware: batch 64 in float32 needs 2 accelerators with 11 GB or more.

    python -m vitax.main --config=configs/swinir_light_x2.py --config.data.path=DIR
    python -m vitax.predict --workdir=RUN IMAGES...      # writes the restored images into RUN/predictions

DIR holds images at any depth, in DIR/train and DIR/test; without DIR/test, a tenth of the images is held out for the
test. The damaged images are made on the fly.

:demo trains a small model on scikit-learn's china.jpg and tests it on flower.jpg, offline and on two CPU cores. It
reaches 35.5 dB on Y (bicubic interpolation: 35.2 dB).

    python -m vitax.main --config=configs/swinir_light_x2.py:demo

:small trains on a folder of about 50 photographs, on a laptop. After 8 minutes of training on BSD50 with two CPU
cores, it restores Set5 with 34.90 dB on Y (bicubic interpolation: 33.67 dB).

    python -m vitax.main --config=configs/swinir_light_x2.py:small --config.data.path=DIR

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": pictures, "demo": demo, "small": small}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def pictures() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 64
    config.duration = "500000 steps"
    config.model = dict(name="swinir", size="light_x2")
    config.task = dict(name="restoration", loss="l1")
    config.data = dict(
        name="images", path="", patch=64, channels=3, degradation="bicubic", scale=2, patches_per_image=1
    )
    config.optim = dict(
        name="adamw",
        learning_rate=2e-4,
        schedule="step",
        milestones=(0.5, 0.8, 0.9, 0.95),
        weight_decay=0.0,
        ema_decay=0.999,
    )
    config.evals = dict(every="10000 steps", tile=256, overlap=32, best="test_ema/psnr_y")
    config.checkpoint = dict(every="5000 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def demo() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 16
    config.duration = "2500 steps"
    config.model = dict(
        name="swinir", scale=2, upsampler="pixelshuffle_direct", width=32, depths=(2,), num_heads=(2,), window=8
    )
    config.task = dict(name="restoration", loss="l1")
    config.data = dict(name="photos", patch=16, channels=3, degradation="bicubic", scale=2, patches_per_image=100)
    config.optim = dict(
        name="adamw",
        learning_rate=3e-3,
        warmup="100 steps",
        final_learning_rate=1e-5,
        weight_decay=0.0,
        b2=0.99,
        clip_norm=1.0,
        ema_decay=0.99,
    )
    config.evals = dict(every="500 steps", tile=64, overlap=8, best="test_ema/psnr_y")
    config.checkpoint = dict(every="500 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config


def small() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 8
    config.duration = "1200 steps"
    config.model = dict(name="swinir", size="light_x2", depths=(2, 2), num_heads=(6, 6))
    config.task = dict(name="restoration", loss="l1")
    config.data = dict(
        name="images", path="", patch=32, channels=3, degradation="bicubic", scale=2, patches_per_image=100
    )
    config.optim = dict(
        name="adamw",
        learning_rate=2e-3,
        warmup="100 steps",
        final_learning_rate=1e-5,
        weight_decay=0.0,
        b2=0.99,
        clip_norm=1.0,
        ema_decay=0.999,
    )
    config.evals = dict(every="600 steps", tile=64, overlap=16, best="test_ema/psnr_y")
    config.checkpoint = dict(every="600 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
