"""BERT: Devlin et al., "Pre-training of Deep Bidirectional Transformers", 2018, arXiv:1810.04805.

GELU is exact, as in Hugging Face's implementation; Google's code uses ``gelu_tanh``.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from vitax import masking
from vitax.masking import TextMask
from vitax.mesh import constrain_batch
from vitax.nn.blocks import Block
from vitax.nn.text import TextEmbed, TextHeads

# Section 3 of the paper; tiny, mini, small and medium: Turc et al. 2019, arXiv:1908.08962.
SIZES = {
    "tiny": dict(width=128, depth=2, num_heads=2, mlp_width=512),
    "mini": dict(width=256, depth=4, num_heads=4, mlp_width=1024),
    "small": dict(width=512, depth=4, num_heads=8, mlp_width=2048),
    "medium": dict(width=512, depth=8, num_heads=8, mlp_width=2048),
    "base": dict(width=768, depth=12, num_heads=12, mlp_width=3072),
    "large": dict(width=1024, depth=24, num_heads=16, mlp_width=4096),
}


class BERT(nn.Module):
    """Bidirectional encoder of texts; the defaults are BERT-base, uncased.

    Attributes:
        num_classes: number K of classes, for heads "classes".
        heads: "pretraining" (masked words and next sentence), "masked_words", "classes" or "none".
        vocab_size: size V of the vocabulary; 28996 = cased.
        max_length: greatest length L of a text, in tokens.
        num_segments: number of segment ids; 2 = first and second text.
        width: width D of the tokens.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_width: hidden width of the MLPs.
        activation: activation of the MLPs and of the masked-word head, a key of `vitax.nn.mlp.ACTIVATIONS`.
        norm_epsilon: epsilon of the layer norms.
        dropout: dropout rate after embeddings, attention and MLP, and before the classes.
        attention_dropout: dropout rate on the attention weights.
        dtype: dtype of the computation; parameters, softmax, norm statistics and logits are float32.
        remat: recompute each block in the backward pass, which saves memory and costs time.
    """

    num_classes: int = 2
    heads: str = "pretraining"
    vocab_size: int = 30522
    max_length: int = 512
    num_segments: int = 2
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        *,
        segments: jax.Array | None = None,
        mask: TextMask = None,
        places: jax.Array | None = None,
        train: bool = False,
    ) -> dict[str, jax.Array]:
        """Maps token ids to hidden states and the outputs of the heads.

        Args:
            tokens: [B, L] int.
            segments: [B, L] int, the text to which each token belongs; None = all 0.
            mask: [B, L] bool, True = token, False = padding, or `Lengths`, to which no token attends; or the `Documents` of
                a row.
            places: [B, M] int, positions of the words to predict; None = all positions.
            train: True = dropout is active.

        Returns:
            "tokens" [B, L, D] and, depending on ``heads``, "pooled" [B, D], "word_logits" [B, M, V], "next_logits"
            [B, 2] (0 = the second text follows the first) and "logits" [B, K].
        """
        embed = TextEmbed(
            vocab_size=self.vocab_size,
            width=self.width,
            max_length=self.max_length,
            num_segments=self.num_segments,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
            name="embed",
        )
        x = constrain_batch(embed(tokens, segments, train, masking.places(mask)))
        self.sow("intermediates", "embedded", x)
        visible = masking.of_keys(mask)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_width=self.mlp_width,
                activation=self.activation,
                norm_first=False,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )(x, train, mask=visible)
        heads = TextHeads(
            kind=self.heads,
            num_classes=self.num_classes,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
            name="heads",
        )
        return heads(x, embed.word, places, train)
