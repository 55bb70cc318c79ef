"""tokenizer.json: a complete pipeline in one file, which the `tokenizers` library reads itself.

What remains: tokens that only tokenizer_config.json declares are added, as transformers does, and truncation and
padding stored in the file are switched off. A prompt is never cut silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from nearlight.package.package import TokenizerFiles
from nearlight.text.files import read_bytes
from nearlight.text.hf_settings import declared_added_tokens, ids_of_named, named_tokens, undeclared_special_tokens
from nearlight.text.spelling import LITERAL, spelling_of
from nearlight.text.tokenizer import BuiltTokenizer, errors_as_text


def build_from_tokenizer_json(files: TokenizerFiles, special_tokens: Mapping[str, str]) -> BuiltTokenizer:
    """Build the pipeline tokenizer.json describes.

    Raises: TextError naming the file and the library's complaint.
    """
    import tokenizers

    path = files.directory / "tokenizer.json"
    content = read_bytes(path)
    with errors_as_text("is not a tokenizer", where=path):
        backend = tokenizers.Tokenizer.from_buffer(content)
        backend.no_truncation()
        backend.no_padding()
        decoder = None if backend.decoder is None else json.loads(backend.decoder.__getstate__())

    named = named_tokens(files.settings, special_tokens)
    warnings: list[str] = []
    present = {token.content for token in backend.get_added_tokens_decoder().values()}
    for id, token in sorted(declared_added_tokens(files, named).items()):
        if token.content not in present:
            with errors_as_text("added tokens cannot be added", where=path):
                backend.add_tokens([token])
            if backend.token_to_id(token.content) != id:
                warnings.append(
                    f"tokenizer_config.json puts {token.content!r} at id {id}, tokenizer.json at "
                    f"{backend.token_to_id(token.content)}; the latter is used"
                )
    with errors_as_text("special tokens cannot be added", where=path):
        backend.add_special_tokens(undeclared_special_tokens(files.settings, named))

    spelling = spelling_of(decoder)
    if spelling is None:
        kind = decoder.get("type") if decoder else "none"
        warnings.append(f"tokenizer.json has a decoder of type {kind}; its tokens are shown as they are written")
    return BuiltTokenizer(
        backend=backend,
        spelling=spelling or LITERAL,
        n_tokens=backend.get_vocab_size(with_added_tokens=True),
        special=ids_of_named(backend, named),
        warnings=tuple(warnings),
    )
