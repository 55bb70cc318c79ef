"""`nearlight inspect`: what is in a package, from its headers, at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.cli.arguments import Parser
from nearlight.errors import PackageError
from nearlight.package import open_package
from nearlight.quantities import bytes_text, count_text, memory_text, number_of
from nearlight.terminal.table import facts, table
from nearlight.terminal.tty import BOLD, DIM, YELLOW, is_terminal, styled
from nearlight.terminal.wrapping import filled

if TYPE_CHECKING:
    from nearlight.decode.policy import SamplingPolicy
    from nearlight.plan.inspection import Inspection

_EXAMPLES = """\
  nearlight inspect ./model.gguf
  nearlight inspect Qwen/Qwen3-0.6B --json

Nothing is downloaded: `nearlight pull` does that. Exit code 2 says that something keeps the model from working, or that
nearlight knows no more of its family than the names of its tensors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = Parser("inspect", "Show what is in a model package, and what looks wrong with it.", _EXAMPLES)
    parser.add_argument(
        "model",
        nargs="?",
        help="a directory, a .gguf file, a hub id, or a name of `plan --list` (default: the embedded model)",
    )
    args = parser.parse_args(arguments)
    from nearlight.cli.names import find_named
    from nearlight.plan.inspection import look_over, look_over_entry

    named = find_named(args.model)
    found = look_over(open_package(named)) if isinstance(named, Path) else look_over_entry(named)
    print(json.dumps(as_json(found), ensure_ascii=False) if args.json else as_text(found))
    if found.problems:
        others = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        shown = is_terminal(sys.stdout) and not args.json  # who reads them there need not read them twice
        raise PackageError("it cannot be used: see its problems" if shown else found.problems[0] + others)
    return 0


def as_json(found: Inspection) -> dict[str, Any]:
    """Build the object of `inspect --json`."""
    package, template = found.package, found.template
    return {
        "model": package.name,
        "source": str(package.source),
        "kind": package.kind,
        "model_type": package.model_type,
        "runnable": found.reason is None and not found.problems,
        "reason": found.reason or next(iter(found.problems), None),
        "files": [str(path) for path in package.files],
        "bytes": found.n_bytes,
        "params": {kind.name: kind.n_parameters for kind in found.kinds} | {"total": found.n_parameters},
        "bits_per_weight": {kind.name: kind.bits_per_weight for kind in found.kinds},
        "formats": {kind.name: dict(kind.formats) for kind in found.kinds},
        "context": found.context,
        "kv": found.kv,
        "kv_bytes_per_token": found.kv_bytes_per_token,
        "vocab_size": found.vocab_size,
        "tokens": found.n_tokens,
        "special_tokens": {name: {"id": id, "text": text} for name, (id, text) in found.special_tokens.items()},
        "stop_ids": {str(id): text for id, text in found.stop_tokens.items()},
        "generation": dict(package.generation),
        "chat_template": None
        if template is None
        else {
            "names": template.names,
            "example": template.example,
            "continues_cache": template.continues_cache,
            "reason": template.reason,
        },
        "problems": found.problems,
        "remarks": found.warnings,
        "config": dict(package.config),
    }


def as_text(found: Inspection) -> str:
    """Lay the inspection out for a person."""
    sections = [_overview(found), _tensors(found), _text(found), _template(found), _verdict(found)]
    return "\n\n".join(section for section in sections if section)


def _overview(found: Inspection) -> str:
    package = found.package
    n_files = len(package.files)
    files = number_of(n_files, "file")
    known = [
        ("source", f"{package.source} ({package.kind}, {files}, {bytes_text(found.n_bytes)} of tensors)")
        if package.files
        else ("source", f"{package.source} ({package.kind})"),
        ("architecture", _architecture(found)),
        ("parameters", count_text(found.n_parameters)),
    ]
    if found.context is not None and found.kv_bytes_per_token is not None:
        whole = memory_text(found.context * found.kv_bytes_per_token)
        cache = f"{memory_text(found.kv_bytes_per_token)} of KV cache a token, {whole} in all ({found.kv})"
        state = f"{memory_text(found.state_bytes)} of state, for any number of them"
        kept = [text for text, n in ((cache, found.kv_bytes_per_token), (state, found.state_bytes)) if n]
        known.append(("context", "; ".join((f"{found.context} tokens", *kept))))
    return "\n".join((styled(package.name, BOLD, sys.stdout), facts(known, sys.stdout)))


def _architecture(found: Inspection) -> str:
    """Name the family and its sizes, by the config's own keys."""
    config = found.package.config
    names = {
        "layers": ("num_hidden_layers", "n_layer"),
        "hidden": ("hidden_size", "n_embd"),
        "heads": ("num_attention_heads", "n_head"),
        "kv heads": ("num_key_value_heads",),
        "ffn": ("intermediate_size", "n_inner"),
    }
    values = {label: next((config[key] for key in keys if config.get(key)), None) for label, keys in names.items()}
    rope = config.get("rope_parameters")
    kind = rope.get("rope_type") if isinstance(rope, dict) else None
    parts = [f"{label} {value}" for label, value in values.items() if value is not None]
    parts += [f"rope {kind}"] if kind not in (None, "default") else []
    return ", ".join((found.package.model_type, *parts))


def _tensors(found: Inspection) -> str:
    if not found.package.tensors:
        counts = [(kind.name, count_text(kind.n_parameters)) for kind in found.kinds]
        return table(("tensors", "parameters"), counts, right=(1,), stream=sys.stdout)
    rows = []
    for kind in found.kinds:
        formats = ", ".join(f"{name} ×{count}" for name, count in kind.formats.most_common())
        bits = f"{kind.bits_per_weight:.2f}" if kind.n_bytes else "?"
        rows.append((kind.name, count_text(kind.n_parameters), bytes_text(kind.n_bytes), bits, formats))
    if len(rows) > 1:
        stored = sum(kind.n_bytes for kind in found.kinds)
        bits = f"{8 * stored / found.n_parameters:.2f}"
        rows.append(("total", count_text(found.n_parameters), bytes_text(stored), bits, ""))
    header = ("tensors", "parameters", "size", "bits per weight", "stored as")
    return table(header, rows, right=(1, 2, 3), stream=sys.stdout)


def _text(found: Inspection) -> str:
    if found.n_tokens is None:
        return ""
    special = ", ".join(f"{name} {text!r}{_id(id)}" for name, (id, text) in found.special_tokens.items())
    stops = ", ".join(f"{text!r}{_id(id)}" for id, text in found.stop_tokens.items())
    rows = "" if found.vocab_size in (None, found.n_tokens) else f" ({found.vocab_size} rows in the embedding)"
    known = [
        ("vocabulary", f"{found.n_tokens} tokens{rows}"),
        ("special", special or "none"),
        ("stops at", stops or "nothing"),
        ("decodes", "unknown" if found.policy is None else _policy(found.policy)),
    ]
    return "\n".join((styled("text", BOLD, sys.stdout), facts(known, sys.stdout)))


def _id(id: int | None) -> str:
    return "" if id is None else f" ({id})"


def _policy(policy: SamplingPolicy) -> str:
    """Say how tokens are chosen unless flags say otherwise."""
    changed = [
        f"{each.name.replace('_', ' ')} {getattr(policy, each.name):g}"
        for each in fields(policy)
        if isinstance(each.default, int | float) and getattr(policy, each.name) != each.default
    ]
    if policy.greedy:
        changed = ["greedy", *(text for text in changed if not text.startswith("temperature"))]
    return ", ".join(changed) or "samples, temperature 1"


def _template(found: Inspection) -> str:
    template = found.template
    if template is None:
        nothing = filled("no chat template: a base model, it completes text", sys.stdout)
        return nothing if found.n_tokens is not None else ""
    title = styled("chat template", BOLD, sys.stdout)
    others = f" ({', '.join(template.names)})" if len(template.names) > 1 else ""
    example = "" if template.example is None else _indented(template.example)
    turns = filled(f"turns: {template.reason}", sys.stdout)
    return "\n".join(line for line in (f"{title}{others}", example, turns) if line)


def _indented(text: str) -> str:
    lines = filled(text.rstrip("\n"), sys.stdout, margin=4).split("\n")
    return "\n".join(styled(f"  │ {line}".rstrip(), DIM, sys.stdout) for line in lines)


def _verdict(found: Inspection) -> str:
    lines = [styled(filled(f"problem: {line}", sys.stdout), YELLOW, sys.stdout) for line in found.problems]
    lines += [filled(f"remark: {line}", sys.stdout) for line in found.warnings]
    return "\n".join(lines) or "nothing looks wrong"
