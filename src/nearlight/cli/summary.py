"""What is told about an answer: the closing line for people, the object of `--json` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nearlight.limits.run import IMPRECISION
from nearlight.quantities import bytes_text, number_of, seconds_text, significant

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel
    from nearlight.limits.run import RunLimit

LONG_LOAD_S = 1.0


def closing_line(completion: Completion, limit: RunLimit | None, *, verbose: bool = False) -> str:
    """Sum an answer up: tokens, waiting, speeds, the share of the limit that decoding reached, and what ended it.

    What loading took is told where it was more than a second, or with `verbose`, which tells the prompt's length too.
    """
    timing, context = completion.timing, completion.mean_context
    n_tokens = len(completion.token_ids)
    parts = [number_of(n_tokens, "token")]
    if timing.ttft_s is not None:
        parts.append(f"TTFT {seconds_text(timing.ttft_s)}")
    if timing.prefill_tok_s:
        parts.append(f"prefill {significant(timing.prefill_tok_s)} tok/s")
    if timing.decode_tok_s:
        parts.append(f"decode {significant(timing.decode_tok_s)} tok/s")
        if limit and completion.has_share:
            parts.append(f"{bytes_text(timing.decode_tok_s * limit.bytes_at(context))}/s")
            parts.append(_share_text(limit, timing.decode_tok_s, context))
    if timing.load_s > (0 if verbose else LONG_LOAD_S):
        parts.append(f"loaded in {seconds_text(timing.load_s)}")
    if verbose:
        parts.append(f"prompt {completion.prompt_tokens} tokens")
    if ending := _ending(completion):
        parts.append(ending)
    return " · ".join(parts)


def _ending(completion: Completion) -> str:
    """Say what ended an answer, where it did not end by itself."""
    if completion.limit_reached == "max_tokens":
        return "stopped by --max-tokens"
    if completion.limit_reached == "context":
        # The last token is shown and never computed, so it has no place there.
        return f"stopped by the full context of {completion.prompt_tokens + len(completion.token_ids) - 1} tokens"
    return "stopped by you" if completion.finish_reason == "cancelled" else ""


def _share_text(limit: RunLimit, tokens_per_s: float, context: float) -> str:
    """Say which part of whose limit was reached; and when that was probed, if it is not the figure on file."""
    share = limit.share(tokens_per_s, context)
    whose = "what this processor's cache allows" if limit.reads_from(context) == "cache" else "this machine's limit"
    text = f"{share:.0%}".replace("%", " %") + f" of {whose}"
    if share > IMPRECISION and limit.reads_from(context) == "memory" and limit.part_in_cache(context):
        return text + " (part of it stays in the cache)"
    if share > IMPRECISION:
        return text + " (this limit moves)"
    return text + (" (probed just now)" if limit.beside else "")


def as_json(model: LanguageModel, completion: Completion, limit: RunLimit | None) -> dict[str, Any]:
    """Build the object of `run --json`. Keys may be added and are never taken away.

    Units: seconds and tokens a second; `limit.read_bytes_per_s` is the ceiling that decoding was held against,
    `limit.of` whose: "memory" or the "cache". The limit of prefill is null, and labelled so, where this machine's peaks
    were never measured.
    """
    from nearlight.engine.engine import STEP_ROWS

    timing, context = completion.timing, completion.mean_context
    speed = timing.decode_tok_s if completion.has_share else None
    prefill = limit.prefill_tokens_per_s(timing.prefill_tokens, completion.cached_tokens, STEP_ROWS) if limit else None
    report: dict[str, Any] = {
        "model": model.package.name,
        "text": completion.text,
        "thinking": completion.thinking,
        "token_ids": completion.token_ids,
        "finish_reason": completion.finish_reason,
        "limit_reached": completion.limit_reached,
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
            "decode_share": limit.share(speed, context) if limit and speed else None,
            "label": limit.label if limit else None,
            "of": limit.reads_from(context) if limit else None,
            "read_bytes_per_s": limit.bytes_per_s(context) if limit else None,
            "probed": ("beside the run" if limit.beside else "before") if limit else None,
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
