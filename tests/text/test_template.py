"""Chat templates against transformers' apply_chat_template, byte for byte, and the errors of bad ones."""

from __future__ import annotations

import pytest
from templates import ANSWER, CALLED, CHATML, CONVERSATIONS, QWEN3, TEMPLATES, THINKING, TOOLS, USER
from transformers import PreTrainedTokenizerFast

from nearlight.errors import TextError
from nearlight.text.template import ChatTemplate, is_chat_model, select_template

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def theirs() -> PreTrainedTokenizerFast:
    import tokenizers

    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def outcome(render) -> str | type[Exception]:
    try:
        return render()
    except Exception as error:
        return "refused" if "alternate" in str(error) or "single tool" in str(error) else repr(error)


@pytest.mark.parametrize("messages", sorted(CONVERSATIONS))
@pytest.mark.parametrize("name", sorted(TEMPLATES))
@pytest.mark.parametrize("prompt", [True, False])
def test_rendering_equals_transformers(theirs, name, messages, prompt):
    chat = CONVERSATIONS[messages]
    expected = outcome(
        lambda: theirs.apply_chat_template(
            chat, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=prompt
        )
    )
    template = ChatTemplate(TEMPLATES[name], SPECIAL)
    assert outcome(lambda: template.render(chat, add_generation_prompt=prompt)) == expected
    assert isinstance(expected, str)
    assert len(expected) > 20


@pytest.mark.parametrize("name", ["qwen3", "llama3", "macros"])
@pytest.mark.parametrize("chat", [CALLED, THINKING, [USER]])
@pytest.mark.parametrize("variables", [{}, {"enable_thinking": False}, {"date_string": "1 May 2026", "bos_token": "B"}])
def test_tools_and_variables_equal_transformers(theirs, name, chat, variables):
    ours = ChatTemplate(TEMPLATES[name], SPECIAL).render(chat, tools=TOOLS, **variables)
    expected = theirs.apply_chat_template(
        chat, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=True, tools=TOOLS, **variables
    )
    assert ours == expected


@pytest.mark.parametrize("name", ["chatml", "llama3", "qwen3", "gemma", "mistral", "zephyr"])
@pytest.mark.parametrize("end", ["The answer is", "ends with a space ", "[1]\n"])
def test_continuing_the_final_message_equals_transformers(theirs, name, end):
    chat = [USER, {"role": "assistant", "content": end}]
    expected = theirs.apply_chat_template(
        chat, chat_template=TEMPLATES[name], tokenize=False, continue_final_message=True
    )
    assert ChatTemplate(TEMPLATES[name], SPECIAL).render(chat, continue_final_message=True) == expected
    assert expected.rstrip().endswith(end.rstrip())


def test_rich_objects_become_plain_before_the_template_sees_them():
    class Text(str):
        def shout(self) -> str:
            return self.upper()

    template = ChatTemplate("{{ messages[0].content.shout is defined }} {{ messages[0].content }} {{ extra }}")
    assert template.render([{"role": "user", "content": Text("hi")}], extra=object()) == "False hi <object>"


def test_lazy_filters_keep_a_generators_manners(theirs):
    source = (
        "{% set nobody = messages | selectattr('role', 'equalto', 'nobody') %}{% if nobody %}true{% endif %}"
        "{% set roles = messages | map(attribute='role') %}{{ roles | join('-') }}|{{ roles | join('-') }}"
        "{% for m in messages | reject('mapping') %}never{% else %}|empty{% endfor %}"
    )
    chat = [USER, ANSWER]
    expected = theirs.apply_chat_template(chat, chat_template=source, tokenize=False)
    assert ChatTemplate(source).render(chat) == expected == "trueuser-assistant||empty"


FAULTY = {
    "syntax": ("{% if messages %}\n\n{{ oops }", "chat template: line 3: "),
    "tag": ("a\n{% frobnicate %}", "chat template: line 2: Encountered unknown tag 'frobnicate'"),
    "filter": ("{{ messages | nosuch }}", "No filter named 'nosuch'"),
    "undefined": ("\n\n{{ nothing.at.all }}", "chat template: line 3: fails: found 'nothing' is undefined"),
    "type": ("{{ 1 + messages }}", "chat template: line 1: fails: found unsupported operand"),
    "zero": ("{{ 1 // 0 }}", "fails: found "),
    "refusal": ("{{ raise_exception('no system role, please') }}", "refuses these messages: found no system role"),
    "include": ("x\n{% include 'passwd' %}", "line 2: chat templates may not use include"),
    "autoescape": ("{% autoescape true %}{{ x }}{% endautoescape %}", "may not use scopedevalcontextmodifier"),
    "private": ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    "subscript": ("{{ messages['__class__'] }}{{ messages['__class__'].x }}", "is unsafe"),
    "mutation": ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
    "method": ("{{ 'a'.encode() }}", "chat templates may not call str.encode"),
    "format": ("{{ '{0.__class__.__mro__}'.format(1) }}", "unsafe"),
    "namespace": ("{% set ns = namespace(_x=1) %}", "a namespace holds no underscored attribute"),
    "too long": ("x" * 250_001, "is too long: expected at most 250000 characters, found 250001"),
}


@pytest.mark.parametrize("case", sorted(FAULTY))
def test_faulty_templates_are_one_line(case):
    source, message = FAULTY[case]
    with pytest.raises(TextError) as caught:
        ChatTemplate(source).render([USER])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_messages_must_be_messages():
    template = ChatTemplate(CHATML)
    with pytest.raises(TextError, match="needs at least one message"):
        template.render([])
    with pytest.raises(TextError, match="expected an object with role and content, found str"):
        template.render(["hi"])  # type: ignore[list-item]
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(TextError, match="nested too deeply"):
        template.render([{"role": "user", "content": nested}])
    with pytest.raises(TextError, match="no text to continue"):
        template.render([{"role": "assistant"}], continue_final_message=True)
    with pytest.raises(TextError, match="drops the text"):
        ChatTemplate("nothing").render([USER], continue_final_message=True)


def test_templates_are_chosen_by_name_and_by_tools():
    templates = {"default": "d", "tool_use": "t", "rag": "r"}
    assert select_template(templates) == "d"
    assert select_template(templates, tools=True) == "t"
    assert select_template({"default": "d"}, tools=True) == "d"
    assert select_template(templates, name="rag") == "r"
    assert select_template({}) is None
    assert is_chat_model(templates)
    assert not is_chat_model({})
    with pytest.raises(TextError, match="chat template: expected one of default, rag, tool_use, found x"):
        select_template(templates, name="x")


def test_one_template_serves_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    template = ChatTemplate(QWEN3)
    chats = [[{"role": "user", "content": f"question {i}"}] for i in range(20)]
    alone = [template.render(chat) for chat in chats]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(template.render, chats)) == alone
