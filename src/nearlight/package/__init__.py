"""Model packages: whatever the file format, the same description comes out.

`open_package` reads headers and small files only; it takes milliseconds for a model of any size.
"""

from __future__ import annotations

from pathlib import Path

from nearlight.errors import PackageError
from nearlight.package.package import Package, TokenizerFiles, TokenizerTables
from nearlight.package.tensors import StoredTensor

__all__ = ["Package", "StoredTensor", "TokenizerFiles", "TokenizerTables", "open_package"]


def open_package(source: str | Path) -> Package:
    """Open a Hugging Face directory, a .gguf file (any part of a split one), or a directory with one GGUF model.

    Raises: PackageError when there is no such package or it is malformed; UnsupportedError when it is of a kind not
    known. The message is one line that names file and field.
    """
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _open_directory(path)
        if path.exists():
            return _open_file(path)
    except OSError as error:
        raise PackageError(f"cannot be read ({error.strerror})", where=path) from None
    raise PackageError("no such file or directory", where=path, advice="give a model directory or a .gguf file")


def _open_directory(path: Path) -> Package:
    if (path / "config.json").exists():
        from nearlight.package.huggingface import open_huggingface

        return open_huggingface(path)
    files = sorted(path.glob("*.gguf"))
    if files:
        return _open_file(_only_model(path, files))
    expected = "config.json with *.safetensors, or a .gguf file"
    found = "an empty directory" if not any(path.iterdir()) else "neither"
    raise PackageError("no model package", where=path, expected=expected, found=found)


def _only_model(directory: Path, files: list[Path]) -> Path:
    """Return the one GGUF model of a directory; the parts of a split one count together."""
    from nearlight.package.gguf import part_paths

    models = sorted({part_paths(file)[0] for file in files})
    if len(models) > 1:
        found = ", ".join(model.name for model in models[:5])
        raise PackageError("several models", where=directory, expected="one .gguf", found=found, advice="name the file")
    return models[0]


def _open_file(path: Path) -> Package:
    if path.suffix == ".gguf":
        from nearlight.package.gguf_package import open_gguf

        return open_gguf(path)
    advice = "give the directory it lies in" if path.suffix in (".safetensors", ".json") else None
    raise PackageError("not a model package", where=path, expected="a directory or a .gguf file", advice=advice)
