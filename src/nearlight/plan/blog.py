"""Reads the four numbers of the "blog" convention off a model (`limits.convention` says what they are for)."""

from __future__ import annotations

from nearlight.counting.counted_model import CountedModel
from nearlight.errors import RequestError
from nearlight.layers.experts import SparseMLP
from nearlight.limits.convention import KV_BITS, WEIGHT_BITS, BlogCosts, BlogShape, bits_of
from nearlight.plan.options import Options


def blog_costs(model: CountedModel, options: Options) -> BlogCosts:
    """Describe a model under the convention. Raises: RequestError for precisions it does not know."""
    weight_bits = bits_of("weights", options.blog_weights, WEIGHT_BITS)
    return BlogCosts(blog_shape(model), weight_bits, bits_of("kv", options.blog_kv, KV_BITS))


def blog_shape(model: CountedModel) -> BlogShape:
    """Count the layers' matrices and biases without norms, and the head even where it is tied to the embedding.

    Raises: RequestError for a mixture of experts.
    """
    decoder = model.model
    if any(isinstance(block.mlp, SparseMLP) for block in decoder.blocks):
        raise RequestError("the blog convention knows no experts", advice="leave --convention out")
    parts = [part for block in decoder.blocks for part in (block.attention.projections, block.mlp)]
    shape = decoder.blocks[0].attention.shape
    return BlogShape(
        layers=sum(parameter.size for part in parts for parameter in part.parameters()),
        head=decoder.vocab_size * shape.hidden_size,
        n_layers=len(decoder.blocks),
        hidden_size=shape.hidden_size,
        groups=shape.n_heads // shape.n_kv_heads,
    )
