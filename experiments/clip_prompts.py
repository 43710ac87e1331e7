"""Do several prompts, a larger batch and labels improve an image-text model?

Radford et al. 2021 (arXiv:2103.00020), figures 4 and 6 and section 3.1.4: an ensemble of prompts gives +3.5 points on
ImageNet; zero-shot CLIP equals a linear classifier of 4 labelled images a class; contrastive learning uses very large
batches. Hypothesis: the same holds on digits, except for the batch: beyond the number of classes most "negatives" are
of the same class.

Captions of ten class names are not web text: every training image was paired with its class, so "zero-shot" here means
naming a class that was trained, and the prompts are the captions of the training.

    python experiments/clip_prompts.py

Digits with three captions each; batches of 16, 64 and 256, with 500 updates each.
"""

from study import Claim, Study, conduct

STUDY = Study(
    variants={("CLIP", batch): {"batch_size": batch} for batch in (16, 64, 256)},
    metrics={
        "test/zero_shot_accuracy": "zero-shot, three prompts",
        "test/zero_shot_accuracy_one_prompt": "one prompt",
        "test/accuracy_4shot": "4 labels a class",
        "test/accuracy_100shot": "100 labels a class",
    },
    config="configs/clip_vit_b32.py:demo",
    shared={"duration": "500 steps", "optim.warmup": "50 steps", "evals.every": "", "evals.shots": (4, 100)},
    x="batch",
    claims=(
        Claim(("CLIP", 64), ("CLIP", 16)),
        Claim(("CLIP", 256), ("CLIP", 64)),
    ),
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
