"""Which safetensors files of a directory are the model, and all their tensors.

An index counts only if the files it names are there: quantizers copy stale ones along. Without an index every
safetensors file counts, except `consolidated*`, a vendor's second copy under other names.

Source: docs/formats.md section 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nearlight.errors import PackageError, UnsupportedError
from nearlight.package.json_file import read_json
from nearlight.package.safetensors import read_safetensors
from nearlight.package.tensors import StoredTensor

INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


@dataclass(frozen=True)
class Weights:
    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]
    warnings: tuple[str, ...]


def read_weights(directory: Path) -> Weights:
    """Find and describe all tensors of a Hugging Face directory.

    Raises: PackageError when shards are missing, names repeat or an index lies; UnsupportedError when the only
    weights are pickles.
    """
    weight_map = _read_index(directory / INDEX)
    present = {path.name for path in directory.glob("*.safetensors")}
    named = set(weight_map.values())
    if named and named <= present:
        return _read_indexed(directory, weight_map)
    if named & present or (named and not present):
        _refuse_missing(directory / INDEX, sorted(named - present), len(named))
    warnings = [f"{INDEX} names files that are not here; it was ignored"] if named else []
    return _read_all(directory, present, warnings)


def _read_index(path: Path) -> dict[str, str]:
    """Read which file each tensor is in; a missing index is an empty one."""
    if not path.exists():
        return {}
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise PackageError("weight_map", where=path, expected="an object of tensor names to file names")
    for tensor, name in weight_map.items():
        plain = isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
        if not plain:
            expected = "the name of a safetensors file beside the index"
            raise PackageError(f"weight_map entry '{tensor}'", where=path, expected=expected, found=repr(name)[:80])
    return weight_map


def _read_indexed(directory: Path, weight_map: Mapping[str, str]) -> Weights:
    files = {name: read_safetensors(directory / name) for name in sorted(set(weight_map.values()))}
    tensors = {}
    for name, file in weight_map.items():
        if name not in files[file]:
            raise PackageError(f"weight_map entry '{name}'", where=directory / INDEX, expected=f"a tensor of {file}")
        tensors[name] = files[file][name]
    return Weights(tuple(directory / name for name in files), tensors, ())


def _read_all(directory: Path, present: set[str], warnings: list[str]) -> Weights:
    names = {name for name in present if not name.startswith("consolidated")} or present
    _check_shards(directory, names)
    if not names:
        _refuse_absent(directory)
    origin: dict[str, str] = {}
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(names):
        for name, tensor in read_safetensors(directory / file).items():
            if name in origin:
                advice = "keep the files of one model only"
                raise PackageError(
                    f"tensor '{name}' is in {origin[name]} and in {file}", where=directory, advice=advice
                )
            origin[name], tensors[name] = file, tensor
    if names < present:
        warnings.append("consolidated*.safetensors is a second copy of the weights; it was ignored")
    return Weights(tuple(directory / name for name in sorted(names)), tensors, tuple(warnings))


def _check_shards(directory: Path, names: set[str]) -> None:
    """Where names are numbered, require the whole series."""
    for name in sorted(names):
        match = _SHARD.fullmatch(name)
        if match:
            count = int(match["count"])
            series = [f"{match['stem']}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
            missing = [shard for shard in series if shard not in names]
            if missing:
                _refuse_missing(directory, missing, count)


def _refuse_missing(where: Path, missing: Sequence[str], count: int) -> None:
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    raise PackageError(
        f"{len(missing)} of {count} weight files are missing",
        where=where,
        found=f"no {shown}",
        advice="download the package again",
    )


def _refuse_absent(directory: Path) -> None:
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt*")):
        raise UnsupportedError(
            "the only weights are pickled, and unpickling runs a stranger's code",
            where=directory,
            expected="*.safetensors",
            advice="convert them: AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)",
        )
    raise PackageError("no weights", where=directory, expected="*.safetensors", found="none")
