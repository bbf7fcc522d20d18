"""Chat templates are rendered as transformers renders them."""

import json
from pathlib import Path

import pytest
from hearth_trainer.chat_template import load_chat_template
from jinja2.exceptions import TemplateError

ASKED = [{"role": "user", "content": "<b>Wer?</b> Ä"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "I"}]


def rendered(folder: Path, template: str, *, opened: bool = False) -> str:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    render = load_chat_template(folder, {}, {"eos_token": "</s>"})
    assert render is not None
    return render(ASKED if opened else ANSWERED, opened)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}", "[user]<b>Wer?</b> Ä[assistant]I"),
        ("{% generation %}{{ messages[1].content }}{{ eos_token }}{% endgeneration %}", "I</s>"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        ("{% for m in messages %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}", "12"),
        ("{{ messages[0] | tojson }}", json.dumps(ASKED[0], ensure_ascii=False)),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1) }}", '{\n "b": 1,\n "a": 2\n}'),
        ("{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "user"),
    ],
    ids=["plain", "generation", "scope of generation", "generation in a loop", "tojson", "tojson indented", "break"],
)
def test_a_template_may_say_what_transformers_understands(template: str, text: str, tmp_path: Path) -> None:
    assert rendered(tmp_path, template) == text


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ raise_exception('only users may ask') }}", "only users may ask"),
        ("{{ messages[0].content + 1 }}", "TypeError: can only concatenate str"),
        ("{{ messages[7].content }}", "has no element 7"),
    ],
)
def test_a_conversation_that_a_template_cannot_render_is_refused(template: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=told):
        rendered(tmp_path, template, opened=True)


def test_of_several_templates_the_default_one_counts(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    render = load_chat_template(tmp_path, {"chat_template": several}, {})
    assert render is not None
    assert render(ASKED, True) == "plain"
    assert load_chat_template(tmp_path, {}, {}) is None
