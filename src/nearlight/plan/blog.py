"""Reads the four numbers of the "blog" convention off a model (`limits.convention` says what they are for)."""

from __future__ import annotations

from nearlight.counting.counted_model import CountedModel
from nearlight.errors import RequestError
from nearlight.limits.convention import KV_BITS, WEIGHT_BITS, BlogCosts, BlogShape, bits_of
from nearlight.plan.options import Options
from nearlight.state.cache import KVState


def blog_costs(model: CountedModel, options: Options) -> BlogCosts:
    """Describe a model under the convention. Raises: RequestError for precisions it does not know."""
    weight_bits = bits_of("weights", options.blog_weights, WEIGHT_BITS)
    return BlogCosts(blog_shape(model), weight_bits, bits_of("kv", options.blog_kv, KV_BITS))


def blog_shape(model: CountedModel) -> BlogShape:
    """Count the layers' matrices and biases without norms, and the head even where it is tied to the embedding.

    Raises: RequestError for a mixture of experts.
    """
    parameters, states = list(model.model.parameters()), list(model.model.declared(KVState))
    for role, what in (("expert", "experts"), ("mixer", "recurrences"), ("table", "per-layer embeddings")):
        if any(parameter.role == role for parameter in parameters):
            raise RequestError(f"the blog convention knows no {what}", advice="leave --convention out")
    _, hidden_size = next(parameter.shape for parameter in parameters if parameter.role == "embedding")
    n_kv_heads = states[0].n_kv_heads
    return BlogShape(
        layers=sum(parameter.size for parameter in parameters if parameter.role in ("attention", "mlp")),
        head=model.model.vocab_size * hidden_size,
        n_layers=len(states),
        hidden_size=hidden_size,
        groups=int(model.config.get("num_attention_heads") or n_kv_heads) // n_kv_heads,
    )
