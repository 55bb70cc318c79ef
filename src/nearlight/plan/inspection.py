"""Looks a package over: what is in it, what a person should know, and what looks wrong.

Only headers, settings and the tokenizer are read; the model is declared, not loaded. So every figure is what loading
would find, and whatever would stop it from loading is among the problems instead. A family that can only be planned is
declared all the same; of one that cannot even be planned there are only its tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from nearlight.decode.policy import SamplingPolicy, settings_not_followed
from nearlight.errors import NearlightError
from nearlight.kernels.count import CountOps
from nearlight.layers.parameters import Parameter, Role
from nearlight.models import build_model, why_not_run
from nearlight.models.catalogue import CatalogueEntry
from nearlight.models.model import Model
from nearlight.models.of_package import bounds_of, config_of
from nearlight.package.package import Package
from nearlight.package.tensors import StoredTensor
from nearlight.state.cache import KVState, RecurrentState
from nearlight.state.kv_format import kv_name, usual_kv_format
from nearlight.text.template import ChatTemplate, select_template
from nearlight.text.tokenizer import Tokenizer, build_tokenizer, stop_ids_of

EXAMPLE = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "How are you?"},
)


@dataclass
class TensorKind:
    """Parameters of one kind, and how they are stored. Units: bytes; `formats` counts tensors."""

    name: str
    n_parameters: int = 0
    n_bytes: float = 0.0
    formats: Counter[str] = field(default_factory=Counter)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.n_bytes / self.n_parameters if self.n_parameters else 0.0


@dataclass
class TemplateReport:
    """A chat template: its names, a rendered example, and whether turns continue the KV cache."""

    names: list[str]
    example: str | None
    continues_cache: bool | None
    reason: str


@dataclass
class Inspection:
    """What `nearlight inspect` shows.

    `problems` keep the model from working; `warnings` are worth knowing. `reason` is why nearlight does not run such
    models, None if it does.
    """

    package: Package
    n_bytes: int
    reason: str | None = None
    kinds: list[TensorKind] = field(default_factory=list)
    context: int | None = None
    kv: str | None = None
    kv_bytes_per_token: int | None = None
    state_bytes: int = 0
    vocab_size: int | None = None
    n_tokens: int | None = None
    special_tokens: dict[str, tuple[int | None, str]] = field(default_factory=dict)
    stop_tokens: dict[int, str] = field(default_factory=dict)
    policy: SamplingPolicy | None = None
    template: TemplateReport | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def n_parameters(self) -> int:
        return sum(kind.n_parameters for kind in self.kinds)


def look_over(package: Package) -> Inspection:
    """Inspect a package; nothing wrong in it raises, all becomes a problem or a warning."""
    n_bytes = sum(tensor.n_bytes for tensor in package.tensors.values())
    found = Inspection(package, n_bytes, why_not_run(package.model_type), warnings=list(package.warnings))
    model = _guarded(found, lambda: build_model(CountOps(), config_of(package), bounds_of(package)))
    if model is None:
        found.kinds = [_as_stored(package)]
    else:
        _compare(found, model)
        _measure(found, model)
        found.warnings += [found.reason] if found.reason else []
    tokenizer = _guarded(found, lambda: build_tokenizer(package.tokenizer, package.special_tokens))
    if tokenizer is not None:
        _read_tokens(found, tokenizer)
    found.policy = _guarded(found, lambda: SamplingPolicy.from_generation(package.generation))
    not_followed = settings_not_followed(package.generation)
    if not_followed:
        found.warnings.append(f"generation settings that are not followed: {', '.join(not_followed)}")
    _read_template(found)
    return found


def look_over_entry(entry: CatalogueEntry) -> Inspection:
    """Inspect a model of which nothing is here but its config. Raises: UnsupportedError for an unknown family."""
    package = Package(Path(entry.repository), "config", entry.name, entry.config, tensors={})
    found = Inspection(package, 0, entry.why_not_run)
    model = build_model(CountOps(), entry.config)
    for name, parameters in _kinds(model):
        kind = TensorKind(name, sum(parameter.size for parameter in parameters))
        found.kinds += [kind] if kind.n_parameters else []
    _measure(found, model)
    worth_a_download = found.reason is None and entry.n_parameters is not None
    pull = f"; `nearlight pull {entry.repository}` downloads it" if worth_a_download else ""
    found.warnings = [f"without its weights: this is what its config says{pull}"]
    found.warnings += [found.reason] if found.reason else []
    return found


def _guarded(found: Inspection, make: Any) -> Any:
    try:
        return make()
    except NearlightError as error:
        found.problems.append(str(error))
        return None


# -- tensors ---------------------------------------------------------------------------------------------------------


_KINDS: dict[str, tuple[Role, ...]] = {
    "embedding": ("embedding",),
    "per-layer embeddings": ("table",),
    "attention": ("attention",),
    "mixer": ("mixer", "recurrence"),
    "ffn": ("mlp", "router", "expert"),
    "norms": ("norm",),
    "head": ("head",),
}


def _kinds(model: Model) -> Iterator[tuple[str, list[Parameter]]]:
    """Sort a model's parameters by what they are for."""
    parameters = list(model.parameters())
    for kind, roles in _KINDS.items():
        yield kind, [parameter for parameter in parameters if parameter.role in roles]


def _compare(found: Inspection, model: Model) -> None:
    """Hold the declared parameters against the stored tensors."""
    package = found.package
    used: set[str] = set()
    wrong: list[str] = []
    for name, parameters in _kinds(model):
        kind = TensorKind(name)
        for parameter in parameters:
            kind.n_parameters += parameter.size
            tensors = _tensors_of(parameter, package)
            if not tensors:
                wrong.append(f"tensor {parameter.name} is missing")
            elif not _agree(parameter, tensors):
                expected, shape = f"{list(parameter.stored_shape)} by the config", list(tensors[0].shape)
                wrong.append(f"shape of {parameter.name}: expected {expected}, found {shape}")
            else:
                part = parameter.shape[0] / parameter.stored_shape[0]
                kind.n_bytes += part * sum(tensor.n_bytes for tensor in tensors)
                first_of_tensor = tensors[0].name not in used  # fused projections are several parameters of one
                kind.formats[str(tensors[0].format)] += len(tensors) * first_of_tensor
            used.update([parameter.name, *(tensor.name for tensor in tensors)])
        if kind.n_parameters:
            found.kinds.append(kind)
    if wrong and found.reason:
        found.kinds = [_as_stored(package)]
        found.warnings.append("its tensors are laid out in another way than the ones nearlight knows of this family")
        return
    found.problems += _shortened(wrong)
    unused = sorted(set(package.tensors) - used)
    if unused:
        shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
        found.warnings.append(f"{len(unused)} tensors are not used by {package.model_type}: {shown}")


def _measure(found: Inspection, model: Model) -> None:
    found.context, found.vocab_size = model.max_positions, model.vocab_size
    matrices = [parameter for parameter in model.parameters() if parameter.is_matrix]
    kv = usual_kv_format(tensor.format for matrix in matrices for tensor in _tensors_of(matrix, found.package))
    found.kv = kv_name(kv)
    found.kv_bytes_per_token = sum(
        2 * state.n_kv_heads * kv.row_bytes(state.head_dim) for state in model.declared(KVState)
    )
    found.state_bytes = sum(4 * state.size for state in model.declared(RecurrentState))


def _tensors_of(parameter: Parameter, package: Package) -> list[StoredTensor]:
    """Return the tensor of a parameter, or those of all experts where each has one of its own."""
    tensors = package.tensors
    if parameter.name in tensors or "*" not in parameter.name:
        return [tensors[parameter.name]] if parameter.name in tensors else []
    names = (parameter.name.replace("*", str(i)) for i in count())
    return [tensors[name] for name in takewhile(tensors.__contains__, names)]


def _agree(parameter: Parameter, tensors: list[StoredTensor]) -> bool:
    """Whether shapes are as declared; experts, declared one below the other, may lie along an axis of their own."""
    if "*" not in parameter.name:
        return tensors[0].shape == parameter.stored_shape
    return sum(tensor.n_rows * tensor.row_length for tensor in tensors) == parameter.size


def _shortened(lines: list[str], most: int = 5) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more tensors like these"]


def _as_stored(package: Package) -> TensorKind:
    """Sum up tensors of a model whose parts are not known."""
    kind = TensorKind("all tensors")
    for tensor in package.tensors.values():
        kind.n_parameters += tensor.n_rows * tensor.row_length
        kind.n_bytes += tensor.n_bytes
        kind.formats[str(tensor.format)] += 1
    return kind


# -- text ------------------------------------------------------------------------------------------------------------


def _read_tokens(found: Inspection, tokenizer: Tokenizer) -> None:
    package = found.package
    found.n_tokens = tokenizer.n_tokens
    for name, text in sorted(package.special_tokens.items()):
        id = tokenizer.special.get(name, tokenizer.id_of(text))
        found.special_tokens[name] = (id, text)
        if id is None:
            found.problems.append(f"{name} {text!r} is not in the vocabulary")
    ids = stop_ids_of(package, tokenizer)
    for id in sorted(ids):
        if id < tokenizer.n_tokens:
            found.stop_tokens[id] = tokenizer.token_text(id)
        else:
            found.problems.append(f"stop id {id} is outside the vocabulary of {tokenizer.n_tokens} tokens")
    if not ids:
        found.warnings.append("no stop token is named: answers end at --max-tokens only")
    if found.vocab_size is not None and tokenizer.n_tokens > found.vocab_size:
        found.problems.append(f"the tokenizer has {tokenizer.n_tokens} tokens, the embedding {found.vocab_size} rows")
    found.warnings += tokenizer.warnings


def _read_template(found: Inspection) -> None:
    package = found.package
    source = select_template(package.chat_templates)
    if source is None:
        if package.tokenizer is not None and _claims_to_chat(package):
            found.warnings.append("named as a chat model, but without a chat template: it will only complete text")
        return
    from nearlight.text.conversation import continues_cache

    template = ChatTemplate(source, package.special_tokens)
    names = sorted(package.chat_templates)
    example = _guarded(found, lambda: _example(template))
    try:
        continues, reason = continues_cache(template)
        found.template = TemplateReport(names, example, continues, reason)
        if not continues:
            found.warnings.append(f"turns do not continue the KV cache: {reason}")
    except NearlightError as error:
        found.template = TemplateReport(names, example, None, str(error))


def _example(template: ChatTemplate) -> str:
    """Render the example chat; some templates refuse a system message."""
    try:
        return template.render(EXAMPLE)
    except NearlightError:
        return template.render(EXAMPLE[1:])


def _claims_to_chat(package: Package) -> bool:
    name = package.name.lower()
    return any(word in name for word in ("instruct", "chat", "-it"))
