"""SwinIR, removal of JPEG artefacts at quality 40.

Recipe: Liang et al. 2021, "SwinIR" (arXiv:2108.10257), section 4.5 and the official training code, on DIV2K,
Flickr2K, BSD500 and WED; the paper's figures are for grey images (Classic5 34.52 dB at quality 40; set
``model.size=jpeg_grey``, ``data.channels=1``). Not run in this project. For qualities 10, 20 and 30, set
``data.strength``.
Hardware: batch 8 of 126x126 in float32 needs 8 accelerators with 11 GB or more.

    python -m vitax.main --config=configs/swinir_jpeg.py --config.data.path=DIR
    python -m vitax.predict --workdir=RUN IMAGES...      # writes the restored images into RUN/predictions

DIR holds images at any depth, in DIR/train and DIR/test; without DIR/test, a tenth of the images is held out for the
test. The damaged images are made on the fly.

:demo trains a small model on scikit-learn's china.jpg and tests it on flower.jpg, offline and on two CPU cores. It
reaches 33.4 dB on Y at quality 10 (the unrestored image: 33.0 dB).

    python -m vitax.main --config=configs/swinir_jpeg.py:demo

Keys that this file does not set have their defaults; ``WORKDIR/config.json`` lists all keys.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    variants = {"": pictures, "demo": demo}
    if variant not in variants:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(variants)}")
    return variants[variant]()


def pictures() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 8
    config.duration = "1600000 steps"
    config.model = dict(name="swinir", size="jpeg_colour")
    config.task = dict(name="restoration", loss="charbonnier")
    config.data = dict(
        name="images", path="", patch=126, channels=3, degradation="jpeg", strength=(40.0,), patches_per_image=1
    )
    config.optim = dict(
        name="adamw",
        learning_rate=2e-4,
        schedule="step",
        milestones=(0.5, 0.75, 0.875, 0.9375),
        weight_decay=0.0,
        ema_decay=0.999,
    )
    config.evals = dict(every="10000 steps", tile=252, overlap=32, best="test_ema/psnr")
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
        name="swinir", scale=1, upsampler="none", pixel_range=255.0, width=32, depths=(2,), num_heads=(2,), window=7
    )
    config.task = dict(name="restoration", loss="charbonnier")
    config.data = dict(name="photos", patch=14, channels=3, degradation="jpeg", strength=(10.0,), patches_per_image=100)
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
    config.evals = dict(every="500 steps", tile=63, overlap=8, best="test_ema/psnr_y")
    config.checkpoint = dict(every="500 steps")
    config.log = dict(every="50 steps")
    config.mesh = dict(data=-1, fsdp=1)
    return config
