"""How much attention does a text encoder need, if Fourier transforms mix the words?

Lee-Thorp et al. 2021 (arXiv:2105.03824), sections 4.1 and 4.4, tables 1, 3 and 5: FNet reaches 92 to 97 % of BERT's accuracy, predicts
hidden words clearly worse (0.58 against 0.69), trains 80 % faster on GPUs; with two layers of attention, the last ones, it is nearly
BERT. Hypothesis: accuracy grows with the number of attention layers, most with the first.

    python experiments/fnet_attention.py

Four layers, hidden words of Python's own documentation: small, so that none gets far. On real text:
``--config.data.name=text --config.data.path=FILE --config.data.vocab_size=8000 --config.duration="100000 steps"`` (needs a GPU).
Speed at the paper's sizes: speed/README.md.
"""

from study import Study, conduct

DEPTH = 4
STUDY = Study(
    variants={
        **{
            ("FNet", n): {"config": "configs/fnet_hybrid.py:demo", "model.attention_depth": n}
            for n in (0, 1, 2, 4)
        },
        ("BERT", DEPTH): {"config": "configs/bert_base.py:demo"},
    },
    metrics={"test/accuracy": "accuracy of hidden words", "test/loss": "loss"},
    config="",
    # At the demos' rate of 1e-3, attention that is normalised after each layer does not get going at this depth.
    shared={"model.depth": DEPTH, "duration": "20 epochs", "optim.learning_rate": 3e-4},
    x="layers of attention",
)

if __name__ == "__main__":
    conduct(__file__, __doc__, STUDY)
