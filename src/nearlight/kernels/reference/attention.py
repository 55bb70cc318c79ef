"""Attention in PyTorch, plainly."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812, the name everyone knows


def visible_to(positions: torch.Tensor, n_tokens: int, window: int | None, chunked: bool) -> torch.Tensor:
    """Tell what rows at these positions see. Shapes: positions [T] -> [T, n_tokens]."""
    tokens, own = torch.arange(n_tokens, device=positions.device), positions[:, None]
    visible = tokens <= own
    if window is None:
        return visible
    return visible & (tokens // window == own // window if chunked else tokens > own - window)


def attend_to(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    visible: torch.Tensor,
    scale: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Shapes: q [..., T, H, D]; k, v [..., S, K, D]; visible [T, S]; sinks [H] -> [..., T, H, D]."""
    group = q.shape[-2] // k.shape[-2]
    k, v = (x.repeat_interleave(group, dim=-2) for x in (k, v))
    scores = torch.einsum("...thd,...shd->...hts", q, k) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible, float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].expand(*scores.shape[:-1], 1)], dim=-1)
    probabilities = scores.softmax(-1)[..., : k.shape[-3]]
    return torch.einsum("...hts,...shd->...thd", probabilities, v)


def attend_sequences(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    length: int,
    scale: float,
    window: int | None,
    chunked: bool,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attend within whole sequences of equal length. Shapes: q [B*T, H, D]; k, v [B*T, K, D] -> [B*T, H*D]."""
    q, k, v = (x.view(-1, length, *x.shape[1:]) for x in (q, k, v))
    if window is None and softcap is None and sinks is None:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        fused = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        return fused.transpose(1, 2).flatten(0, 1).flatten(-2)
    visible = visible_to(torch.arange(length, device=q.device), length, window, chunked)
    return attend_to(q, k, v, visible, scale, softcap, sinks).flatten(0, 1).flatten(-2)
