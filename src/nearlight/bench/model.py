"""The model that is measured: on the engine, and on the counting kernels beside it, from the same spec."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearlight.bench.synthetic import formats_named, synthetic_model
from nearlight.counting.counted_model import CountedModel
from nearlight.dtypes import Format
from nearlight.engine.engine import Engine
from nearlight.errors import RequestError
from nearlight.kernels.count import CountOps, Target, cpu_target
from nearlight.kernels.cpu import CpuOps
from nearlight.loading.backends import make_ops
from nearlight.loading.binding import Progress, load_model
from nearlight.machine.processor import last_cache_bytes, processor_name
from nearlight.models import build_model, not_written
from nearlight.models.catalogue import find_in_catalogue
from nearlight.models.of_package import config_of, formats_of
from nearlight.models.weight_formats import FormatOf, requantization
from nearlight.package import open_package
from nearlight.package.package import Package
from nearlight.state.kv_format import kv_format_named, kv_name


@dataclass(frozen=True)
class ModelSpec:
    """A model before it is loaded: its config, and the format of each of its matrices.

    `package` None means synthetic: random weights. `weights` and `kv` are names for people and programs,
    `kv` None follows the weights; `requantized` is what a package's own bits are to be changed into, None to keep them.
    """

    name: str
    config: Mapping[str, Any]
    weights: str
    format_of: FormatOf
    kv: str | None = None
    package: Package | None = None
    requantized: str | None = None

    @property
    def architecture(self) -> str:
        return str(self.config["model_type"])

    @property
    def kv_format(self) -> Format | None:
        return kv_format_named(self.kv)

    def counted(self, target: Target) -> CountedModel:
        """Build it on the counting kernels."""
        return CountedModel(self.config, self.format_of, kv_format=self.kv_format, target=target)

    def engine(self, threads: int | None = None, progress: Progress | None = None) -> Engine:
        """Load it, or make it up, and put it on the CPU engine."""
        ops = make_ops("cpu", threads)
        if self.package is None:
            model = synthetic_model(ops, dict(self.config), self.format_of, progress)
        else:
            model, _ = load_model(self.package, ops, requantization(self.requantized), progress)
        return Engine(model, ops, kv_format=self.kv_format)


def synthetic(name: str, weights: str = "bf16", kv: str | None = None) -> ModelSpec:
    """Describe a model of random weights: a name from the catalogue, or the path of a config.json.

    `weights` is a choice of `nearlight.load` or any stored format. Raises: RequestError, UnsupportedError.
    """
    kv_format_named(kv)
    formats = formats_named(weights)
    path = Path(name).expanduser()
    if path.suffix == ".json" or path.is_dir():
        file = path / "config.json" if path.is_dir() else path
        title, config = file.resolve().parent.name, _config_at(file)
    else:
        entry = find_in_catalogue(name)
        if entry.why_not_run:
            raise not_written(entry.model_type, where=entry.name)
        title, config = entry.name, dict(entry.config)
    build_model(CountOps(), config)  # only declares, and so tells at once what cannot be built
    return ModelSpec(f"{title} (synthetic)", config, weights, formats.format_of, kv)


def packaged(path: Path, weights: str | None = None, kv: str | None = None) -> ModelSpec:
    """Describe a model package in its stored bits, or re-quantized at load. Raises: NearlightError."""
    kv_format_named(kv)
    package = open_package(path)
    format_of, bits = formats_of(package, requantization(weights)), weights or _stored_bits(package)
    return ModelSpec(package.name, config_of(package), bits, format_of, kv, package, weights)


@dataclass(frozen=True)
class Setting:
    """What all rows of a loaded model have in common.

    Units: bytes; `n_params` counts parameters. `last_cache_bytes` is the size of the processor's last caches.
    """

    model: str
    architecture: str
    weights: str
    kv: str
    n_params: int
    model_size: int
    n_threads: int
    cpu: str
    isa: str
    last_cache_bytes: int


def setting_of(spec: ModelSpec, engine: Engine, counted: CountedModel) -> Setting:
    """Say what all rows of a loaded model have in common."""
    return Setting(
        model=spec.name,
        architecture=spec.architecture,
        weights=spec.weights,
        kv=kv_name(counted.kv_format),
        n_params=counted.parameters.total,
        model_size=counted.weight_bytes,
        n_threads=engine.ops.threads,
        cpu=processor_name(),
        isa=_cpu(engine).isa,
        last_cache_bytes=last_cache_bytes(),
    )


def target_of(engine: Engine) -> Target:
    """Return what the counting kernels must know of this engine's."""
    return cpu_target(_cpu(engine).isa)


def _cpu(engine: Engine) -> CpuOps:
    assert isinstance(engine.ops, CpuOps)
    return engine.ops


def _stored_bits(package: Package) -> str:
    """Name the format that holds most of a package's bytes: "stored Q4_K"."""
    n_bytes: Counter[str] = Counter()
    for tensor in package.tensors.values():
        n_bytes[str(tensor.format)] += tensor.n_bytes
    return f"stored {n_bytes.most_common(1)[0][0]}" if n_bytes else "stored"


def _config_at(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError("config cannot be read", where=path, found=str(error)) from None
    if not isinstance(config, dict):
        raise RequestError("config", where=path, expected="a JSON object", found=type(config).__name__)
    return config
