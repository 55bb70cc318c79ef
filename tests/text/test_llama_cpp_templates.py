"""Published chat templates, as llama.cpp's source has them, against transformers' apply_chat_template.

NEARLIGHT_LLAMA_CPP says where that source is; its `models/templates` has some seventy.
"""

from __future__ import annotations

import tokenizers
from llama_cpp_tree import source
from templates import ANSWER, CALLED, SYSTEM, THINKING, TOOLS, USER
from transformers import PreTrainedTokenizerFast

from nearlight.errors import TextError
from nearlight.text.template import ChatTemplate

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
CHATS = [[USER], [SYSTEM, USER, ANSWER, USER], [SYSTEM, *THINKING], CALLED]
SWITCHES = [{}, {"enable_thinking": True}, {"enable_thinking": False}, {"thinking": True, "reasoning_effort": "high"}]
NEED_TOOLS = {
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "fireworks-ai-llama-3-firefunction-v2",
}
"""Templates that are chosen for tools alone."""


def test_every_published_template_renders_as_in_transformers() -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), **SPECIAL)
    paths = sorted((source() / "models" / "templates").glob("*.jinja"))
    assert len(paths) > 60
    for path in paths:
        text = path.read_text(encoding="utf-8")
        ours = ChatTemplate(text, SPECIAL)
        for chat in CHATS:
            for tools in (None, TOOLS):
                for switch in SWITCHES:
                    for prompt in (True, False):
                        given = {"tools": tools, "add_generation_prompt": prompt, **switch}
                        expected: str | None
                        try:
                            expected = theirs.apply_chat_template(chat, chat_template=text, tokenize=False, **given)
                        except Exception:
                            expected = None
                        assert rendered(ours, chat, given) == expected, (path.name, given)
        if path.stem not in NEED_TOOLS:
            assert rendered(ours, [USER], {}), path.name


def rendered(template: ChatTemplate, chat: list[dict[str, object]], given: dict[str, object]) -> str | None:
    try:
        return template.render(chat, **given)  # type: ignore[arg-type]
    except TextError:
        return None
