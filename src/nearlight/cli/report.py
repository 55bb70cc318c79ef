"""What is told about an answer: the closing line for people, the object of `--json` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearlight.cli.units import bytes_text, seconds_text, significant

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel
    from nearlight.limits.decode import DecodeLimit

_ENDINGS = {"length": "stopped at the limit of tokens", "cancelled": "stopped by you"}


def closing_line(completion: Completion, limit: DecodeLimit | None) -> str:
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
            parts.append(f"{bytes_text(timing.decode_tok_s * limit.cost.bytes_at(context))}/s")
            parts.append(_share_text(limit.share(timing.decode_tok_s, context)))
    if completion.finish_reason in _ENDINGS:
        parts.append(_ENDINGS[completion.finish_reason])
    return " · ".join(parts)


def _share_text(share: float) -> str:
    text = f"{share:.0%}".replace("%", " %") + " of this machine's limit"
    # The limit is what main memory gives, so only a model that is not read from there can pass it.
    return text if share <= 1.005 else text + " (the model fits in the processor's cache)"


def as_json(model: LanguageModel, completion: Completion, limit: DecodeLimit | None) -> dict[str, Any]:
    """Build the object of `run --json`. Keys may be added and are never taken away.

    Units: seconds and tokens a second. There is no limit of prefill yet, so it is null.
    """
    timing, context = completion.timing, completion.mean_context
    share = limit.share(timing.decode_tok_s, context) if limit and timing.decode_tok_s else None
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
            "prefill_tok_s": None,
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
