"""What is told about an answer: the closing line for people, the object of `--json` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearlight.cli.units import bytes_text, seconds_text, significant
from nearlight.cli.wrapping import say

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel
    from nearlight.limits.run import RunLimit

IMPOSSIBLE = 1.02
"""A share above this is not the probes' imprecision."""

_ENDINGS = {"length": "stopped at the limit of tokens", "cancelled": "stopped by you"}


def limit_of(model: LanguageModel, completion: Completion) -> RunLimit:
    """Return what an answer is held against.

    A share well above the whole is either the processor's cache, or the bandwidth on file is that of a slower state of
    the machine; so it is probed again.
    """
    limit, speed = model.limits(), completion.timing.decode_tok_s
    if speed and limit.share(speed, completion.mean_context) > IMPOSSIBLE and not _in_cache(limit):
        fresh = model.limits(fresh=True)
        was, now = bytes_text(limit.read_bytes_per_s), bytes_text(fresh.read_bytes_per_s)
        say(f"nearlight: faster than the limit on file, so memory was probed again: {now}/s, not {was}/s")
        return fresh
    return limit


def closing_line(completion: Completion, limit: RunLimit | None) -> str:
    """Sum an answer up: tokens, waiting, speeds, and the share of this machine's limit that decoding reached."""
    timing, context = completion.timing, completion.mean_context
    n_tokens = len(completion.token_ids)
    parts = [f"{n_tokens} token" + ("s" if n_tokens != 1 else "")]
    if timing.ttft_s is not None:
        parts.append(f"TTFT {seconds_text(timing.ttft_s)}")
    if timing.prefill_tok_s:
        parts.append(f"prefill {significant(timing.prefill_tok_s)} tok/s")
    if timing.decode_tok_s:
        parts.append(f"decode {significant(timing.decode_tok_s)} tok/s")
        if limit:
            parts.append(f"{bytes_text(timing.decode_tok_s * limit.bytes_at(context))}/s")
            parts.append(_share_text(limit, limit.share(timing.decode_tok_s, context)))
    if completion.finish_reason in _ENDINGS:
        parts.append(_ENDINGS[completion.finish_reason])
    return " · ".join(parts)


def _share_text(limit: RunLimit, share: float) -> str:
    text = f"{share:.0%}".replace("%", " %") + " of this machine's limit"
    if share <= 1.005:
        return text
    # The limit is what main memory gives. A model that is read from there only passes it where the probe was disturbed.
    return text + (" (the model fits in the processor's cache)" if _in_cache(limit) else " (as memory was probed)")


def _in_cache(limit: RunLimit) -> bool:
    """Whether most of the model can stay in the processor's cache; taken for granted where its size is unknown."""
    from nearlight.kernels.cpu.probe import last_cache_bytes

    cache_bytes = last_cache_bytes()
    return not cache_bytes or limit.costs.weight_bytes <= 2 * cache_bytes


def as_json(model: LanguageModel, completion: Completion, limit: RunLimit | None) -> dict[str, Any]:
    """Build the object of `run --json`. Keys may be added and are never taken away.

    Units: seconds and tokens a second. The limit of prefill is null, and labelled so, where this machine's peaks were
    never measured.
    """
    from nearlight.engine.engine import CHUNK_ROWS

    timing, context = completion.timing, completion.mean_context
    share = limit.share(timing.decode_tok_s, context) if limit and timing.decode_tok_s else None
    prefill = limit.prefill_tokens_per_s(timing.prefill_tokens, completion.cached_tokens, CHUNK_ROWS) if limit else None
    report: dict[str, Any] = {
        "model": model.package.name,
        "text": completion.text,
        "thinking": completion.thinking,
        "token_ids": completion.token_ids,
        "finish_reason": completion.finish_reason,
        "usage": completion.usage(),
        "timing": {
            "load_s": timing.load_s,
            "ttft_s": timing.ttft_s,
            "prefill_tok_s": timing.prefill_tok_s,
            "decode_tok_s": timing.decode_tok_s,
        },
        "limit": {
            "prefill_tok_s": prefill,
            "prefill_share": timing.prefill_tok_s / prefill if prefill and timing.prefill_tok_s else None,
            "prefill_label": limit.label if limit and prefill else "unknown: `nearlight roofline` measures the peaks",
            "decode_tok_s": limit.tokens_per_s(context) if limit else None,
            "decode_share": share,
            "label": limit.label if limit else None,
            "read_bytes_per_s": limit.read_bytes_per_s if limit else None,
        },
    }
    if completion.choices:
        report["logprobs"] = [_choice(model, choice) for choice in completion.choices]
    return report


def _choice(model: LanguageModel, choice: Any) -> dict[str, Any]:
    return {
        "token_id": choice.token,
        "token": model.tokenizer.token_text(choice.token),
        "logprob": choice.logprob,
        "top": [
            {"token_id": token, "token": model.tokenizer.token_text(token), "logprob": logprob}
            for token, logprob in choice.top
        ],
    }
