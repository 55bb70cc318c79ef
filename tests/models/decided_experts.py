"""Random mixtures of experts whose routers are sure of their choices.

Of usual random weights some row's choice is nearly a tie, which rounding to bf16 decides, in transformers too; then all
that follows is another text's. Here a token's embedding says which experts it goes to.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.nn import functional

from tests.models.random_models import random_model, transformers_logits

LEAST_MARGIN = 0.1
"""Between the last expert chosen and the first that is not, in deviations of the scores."""
_ROUTERS = ("mlp.gate", "mlp.router", "block_sparse_moe.gate", "feed_forward.router")


def decided_model(config: Any, ids: list[int]) -> Any:
    """Return a model in bf16 whose router has no choice nearer than LEAST_MARGIN for these tokens."""
    for seed in range(30):
        model = random_model(copy.deepcopy(config), seed=seed)
        _decide(model, seed)
        model = model.to(torch.bfloat16)
        if _margin(copy.deepcopy(model).float(), ids, config.num_experts_per_tok) > LEAST_MARGIN:
            return model
    raise AssertionError("no model without near ties")


def _routers(model: Any) -> list[Any]:
    return [part for name, part in model.named_modules() if name.endswith(_ROUTERS) and hasattr(part, "weight")]


def _decide(model: Any, seed: int) -> None:
    torch.manual_seed(seed)
    n_experts, width = _routers(model)[0].weight.shape
    directions = torch.linalg.qr(torch.randn(width, n_experts))[0].T
    with torch.no_grad():
        for router in _routers(model):
            router.weight.copy_(4 * directions)
        table = model.get_input_embeddings().weight
        token = torch.arange(len(table))
        second = token + 1 + token // n_experts % (n_experts - 1)
        table += 8 * directions[token % n_experts] + 5 * directions[second % n_experts]
    model.tie_weights()


def _margin(model: Any, ids: list[int], n_chosen: int) -> float:
    scores: list[torch.Tensor] = []

    def note(router: Any, given: tuple[torch.Tensor, ...], _: object) -> None:
        scores.append(functional.linear(given[0].reshape(-1, router.weight.shape[1]), router.weight))

    hooks = [router.register_forward_hook(note) for router in _routers(model)]
    transformers_logits(model, ids)
    for hook in hooks:
        hook.remove()
    ranked = torch.cat(scores).sort(-1, descending=True).values
    return float(((ranked[:, n_chosen - 1] - ranked[:, n_chosen]) / ranked.std()).min())
