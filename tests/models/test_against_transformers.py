"""Every family against transformers, on both kernel sets."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import nearlight
from tests.models.random_models import (
    CONFIGS,
    HYBRIDS,
    WINDOWED,
    relative_error,
    rms_error,
    scramble,
    transformers_logits,
    write_model,
)

BACKENDS = ["reference", "cpu"]
CACHED = [
    "llama",
    "qwen2",
    "qwen3",
    "gpt2",
    "gemma3_text",
    "gpt_oss",
    "granite",
    "phi3",
    "ministral",
    "ministral3",
    "llama4_text",
]
GEMMA4 = ["gemma4_text", "gemma4_text-experts", "gemma4_text-all"]
IDS = [int(i) for i in np.random.default_rng(3).integers(3, 103, 37)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CONFIGS)
def test_fp32_logits_equal(tmp_path: Path, name: str, backend: str) -> None:
    theirs = write_model(tmp_path, CONFIGS[name])
    model = nearlight.load(tmp_path, backend=backend, kv="f32", context=64)
    ids = IDS[: CONFIGS[name].max_position_embeddings]
    assert relative_error(model.logits(ids), transformers_logits(theirs, ids)) <= 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    [
        *("llama", "qwen2", "qwen3-tied", "gpt2", "gpt_oss", "granite", "phi3-longrope"),
        *("lfm2", "falcon_h1", "falcon_h1-norm-first", "granitemoehybrid-dense", "nemotron_h-latent", "ministral3"),
    ],
)
def test_bf16_packages_stay_close(tmp_path: Path, name: str, backend: str) -> None:
    """Where no row's second and third best experts are so near that their order is another in 16 bits."""
    theirs = write_model(tmp_path, CONFIGS[name], torch.bfloat16).float()
    model = nearlight.load(tmp_path, backend=backend)
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 2e-2


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "qwen3_5-long-keys", *GEMMA4])
def test_bf16_packages_are_nearer_than_bf16_arithmetic(tmp_path: Path, name: str) -> None:
    """Small random Gemmas and delta rules amplify every rounding: 2e-2 is beyond any 16 bits, also transformers'.

    What the stored weights give is computed in fp32, by transformers and by the reference kernels alike. The model as
    it was before it was saved is no measure: bringing it to bf16 rounds its rotary frequencies too.
    """
    write_model(tmp_path, CONFIGS[name], torch.bfloat16)
    exact, theirs = (transformers_logits(_saved(tmp_path, dtype), IDS) for dtype in (torch.float32, torch.bfloat16))
    reference, ours = (nearlight.load(tmp_path, backend=backend, kv="f32").logits(IDS) for backend in BACKENDS)
    assert relative_error(reference, exact) <= 1e-4
    assert rms_error(ours, exact) <= rms_error(theirs, exact)


def _saved(directory: Path, dtype: torch.dtype) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return model


@pytest.mark.parametrize("name", ["llama-biases", "qwen2-tied", "qwen3", "gpt2-by-layer"])
def test_f16_cache_stays_close(tmp_path: Path, name: str) -> None:
    theirs = write_model(tmp_path, CONFIGS[name])
    found, wanted = nearlight.load(tmp_path, kv="f16").logits(IDS), transformers_logits(theirs, IDS)
    assert relative_error(found, wanted) <= 2e-3
    assert rms_error(found, wanted) <= 1.3e-3  # of llama.cpp's flash attention


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3-tied", "gpt2"])
def test_fp32_packages_are_reproduced_without_asking(tmp_path: Path, name: str, backend: str) -> None:
    theirs = write_model(tmp_path, CONFIGS[name])
    found, wanted = nearlight.load(tmp_path, backend=backend).logits(IDS), transformers_logits(theirs, IDS)
    assert relative_error(found, wanted) <= 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_dynamic_scaling_past_the_trained_length(tmp_path: Path, backend: str) -> None:
    theirs = write_model(tmp_path, CONFIGS["llama-dynamic"])
    model = nearlight.load(tmp_path, backend=backend, kv="f32", context=60)
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WINDOWED)
def test_windows_hide_what_lies_behind_them(tmp_path: Path, name: str, backend: str) -> None:
    config = WINDOWED[name]
    theirs = write_model(tmp_path, copy.deepcopy(config))
    model = nearlight.load(tmp_path, backend=backend, kv="f32")
    assert len(IDS) > 3 * config.sliding_window
    found = model.logits(IDS)
    assert relative_error(found, transformers_logits(theirs, IDS)) <= 1e-4
    theirs.config.sliding_window = len(IDS)
    assert relative_error(found, transformers_logits(theirs, IDS)) > 1e-2  # the window makes a difference


def test_llama_with_a_window_is_mistral(tmp_path: Path) -> None:
    """GGUF files have no other name for it."""
    write_model(tmp_path, WINDOWED["mistral"])
    whole = nearlight.load(tmp_path).logits(IDS)
    written = json.loads((tmp_path / "config.json").read_text())
    written |= {"model_type": "llama", "use_sliding_window": True}
    (tmp_path / "config.json").write_text(json.dumps(written))
    np.testing.assert_array_equal(nearlight.load(tmp_path).logits(IDS), whole)


@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize("name", ["qwen3-window", "mistral"])
def test_windows_in_chunks_equal_whole_bit_for_bit(tmp_path: Path, name: str, kv: str) -> None:
    write_model(tmp_path, WINDOWED[name])
    engine = nearlight.load(tmp_path, kv=kv, threads=2).engine
    logits = []
    for chunks in ([37], [1] * 37, [5, 1, 17, 14]):
        sequence, start = engine.open(), 0
        logits.append([])
        for size in chunks:
            engine.extend(sequence, IDS[start : start + size])
            logits[-1].extend(engine.logits(sequence))
            start += size
    np.testing.assert_array_equal(logits[1], logits[0])
    np.testing.assert_array_equal(logits[2], logits[0])


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gpt2"])
def test_q8_cache_stays_close(tmp_path: Path, name: str) -> None:
    theirs = write_model(tmp_path, CONFIGS[name])
    reference = nearlight.load(tmp_path, backend="reference", kv="q8").logits(IDS)
    found = nearlight.load(tmp_path, kv="q8").logits(IDS)
    assert relative_error(found, transformers_logits(theirs, IDS)) <= 2e-2
    assert relative_error(found, reference) <= 1.5e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*CACHED, *GEMMA4, *HYBRIDS])
def test_cached_and_chunked_equal_whole_bit_for_bit(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    write_model(tmp_path, CONFIGS[name], dtype)
    model = nearlight.load(tmp_path)
    whole = model.logits(IDS)
    for chunks in ([1] * len(IDS), [5, 1, 17, 14], [36, 1]):
        sequence = model.engine.open()
        parts, start = [], 0
        for size in chunks:
            model.engine.extend(sequence, IDS[start : start + size])
            parts.append(model.engine.logits(sequence))
            start += size
        model.engine.close(sequence)
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", [*CACHED, "gemma2", "phi3-longrope", "llama-dynamic", *GEMMA4, *HYBRIDS])
def test_batched_equals_single_bit_for_bit(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, CONFIGS[name])
    engine = nearlight.load(tmp_path).engine
    prompts = [IDS[:9], IDS[4:31], IDS[30:31]]
    together = [engine.open() for _ in prompts]
    for sequence, prompt in zip(together, prompts, strict=True):
        engine.extend(sequence, prompt)
    batched: dict[int, np.ndarray] = {}
    while any(sequence.n_pending for sequence in together):
        logits = engine.step(together, max_rows=11)
        batched |= {together.index(sequence): row for sequence, row in logits.items()}
    for i, prompt in enumerate(prompts):
        alone = engine.open()
        engine.extend(alone, prompt)
        np.testing.assert_array_equal(batched[i], engine.logits(alone)[-1:])


def test_the_text_of_gemma_4_with_its_towers(tmp_path: Path) -> None:
    """Saved by transformers, whose config has what layers have of their own layer by layer."""
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CONFIGS["gemma4_text-all"].to_dict()
    config = transformers.Gemma4Config(text_config=text, vision_config={**vision, "head_dim": 8}, audio_config=None)
    theirs = transformers.Gemma4ForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    scramble(theirs)
    theirs.set_experts_implementation("eager")
    theirs.save_pretrained(tmp_path)
    assert "per_layer_config" in json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert relative_error(nearlight.load(tmp_path).logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


def test_the_text_of_a_model_that_sees(tmp_path: Path) -> None:
    """Its part for pictures lies in the package, and is left alone."""
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=CONFIGS["gemma3_text"].to_dict(),
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    theirs = transformers.Gemma3ForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    scramble(theirs)
    theirs.save_pretrained(tmp_path)
    assert relative_error(nearlight.load(tmp_path).logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


@pytest.mark.parametrize("name", ["mistral", "ministral3"])
def test_the_text_of_mistrals_that_see(tmp_path: Path, name: str) -> None:
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config = transformers.Mistral3Config(
        text_config=CONFIGS[name].to_dict(),
        vision_config={**vision, "num_attention_heads": 2, "head_dim": 8, "image_size": 28, "patch_size": 14},
        tie_word_embeddings=False,
    )
    theirs = transformers.Mistral3ForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    scramble(theirs)
    theirs.save_pretrained(tmp_path)
    model = nearlight.load(tmp_path)
    assert model.engine.model.__class__.__name__.lower() == name
    assert relative_error(model.logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


def test_the_text_of_llama_4(tmp_path: Path) -> None:
    vision = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16}
    config = transformers.Llama4Config(
        text_config=CONFIGS["llama4_text"].to_dict(),
        vision_config={**vision, **sizes, "image_size": 28, "patch_size": 14},
    )
    theirs = transformers.Llama4ForConditionalGeneration(config).eval()
    torch.manual_seed(0)
    scramble(theirs)
    theirs.save_pretrained(tmp_path)
    assert relative_error(nearlight.load(tmp_path).logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


@pytest.mark.parametrize("kind", ["Qwen3_5", "Qwen3_5Moe"])
def test_the_text_of_a_qwen_that_sees(tmp_path: Path, kind: str) -> None:
    """Beside the part for pictures lies one that guesses further tokens; both are left alone."""
    text = CONFIGS["qwen3_5" if kind == "Qwen3_5" else "qwen3_5_moe"]
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "depth": 1,
        "num_heads": 2,
        "out_hidden_size": text.hidden_size,
    }
    config = getattr(transformers, f"{kind}Config")(text_config=text.to_dict(), vision_config=sizes)
    theirs = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    torch.manual_seed(0)
    scramble(theirs)
    if kind == "Qwen3_5Moe":
        theirs.set_experts_implementation("eager")
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"mtp.fc.weight": torch.ones(3, 5)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert any("visual" in name for name in tensors)
    assert relative_error(nearlight.load(tmp_path).logits(IDS), transformers_logits(theirs, IDS)) <= 1e-4


def test_experts_that_lie_in_one_tensor(tmp_path: Path) -> None:
    """As published Qwen3.5 has them: those of a layer together, each one's gate before its up."""
    write_model(tmp_path, CONFIGS["qwen3_5_moe"])
    apart = nearlight.load(tmp_path).logits(IDS)
    tensors = load_file(tmp_path / "model.safetensors")
    for layer in range(4):
        name = f"model.layers.{layer}.mlp.experts."
        gates, ups, downs = (
            torch.stack([tensors.pop(f"{name}{expert}.{part}_proj.weight") for expert in range(5)])
            for part in ("gate", "up", "down")
        )
        tensors |= {f"{name}gate_up_proj": torch.cat([gates, ups], 1), f"{name}down_proj": downs}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(nearlight.load(tmp_path).logits(IDS), apart)
