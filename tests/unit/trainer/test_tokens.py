"""What a chat template writes before an answer is told from the answer."""

import json
from pathlib import Path

import pytest
from hearth_trainer.errors import BadConfigError
from hearth_trainer.metrics import Wanted
from hearth_trainer.rows import Message, Row
from hearth_trainer.tokens import RowTokenizer, load_row_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|user|>", "<|assistant|>", "<|end|>", "<|channel|>", "<|message|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}LEAD{% endif %}{{ m.content }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\nOPENED{% endif %}"
)
THINKS = "{% if '</think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
"""As of Qwen3: an answer without reasoning has an empty one."""
OBJECT = '{"name": "Ada"}'


def tokens_of(folder: Path, lead: str = "", opened: str = "", content: str = "m.content") -> RowTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet))
    tokenizer.save(str(folder / "tokenizer.json"))
    template = TEMPLATE.replace("LEAD", lead).replace("OPENED", opened).replace("m.content }}", f"{content} }}}}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, "eos_token": "<|end|>"}))
    return load_row_tokenizer(folder)


def asked(target: str) -> Row:
    return Row("rows.jsonl:1", (Message("user", "Who?"),), target)


@pytest.mark.parametrize(
    ("lead", "opened", "target", "told"),
    [
        ("", "", OBJECT, ""),
        (THINKS, "", OBJECT, "<think>\n\n</think>\n\n"),
        (THINKS, "<think>\n", OBJECT, "\n</think>\n\n"),
        (THINKS, "<think>\n\n</think>\n\n", OBJECT, ""),
        (THINKS, "", "<think>\nAda is known.\n</think>\n\nAda", ""),
        (THINKS, "", "<", "<think>\n\n</think>\n\n"),
        (THINKS, "", " <\n", "<think>\n\n</think>\n\n"),
        ("<|channel|>final<|message|>", "", OBJECT, "final"),
    ],
    ids=["none", "empty reasoning", "opened", "closed", "own reasoning", "alike", "alike in space", "special tokens"],
)
@pytest.mark.parametrize("content", ["m.content", "m.content | trim"], ids=["as it is", "trimmed"])
def test_what_the_template_says_before_an_answer_is_not_part_of_it(
    lead: str, opened: str, target: str, told: str, content: str, tmp_path: Path
) -> None:
    assert tokens_of(tmp_path, lead, opened, content).wanted(asked(target)) == Wanted(target, told)


def test_the_lead_is_learnt_with_the_target(tmp_path: Path) -> None:
    prompt, whole = tokens_of(tmp_path, THINKS).texts(asked(OBJECT))
    assert whole.removeprefix(prompt) == f"<think>\n\n</think>\n\n{OBJECT}<|end|>\n"


def test_without_a_chat_template_nothing_stands_before_an_answer(tmp_path: Path) -> None:
    texts = RowTokenizer(tokens_of(tmp_path).tokenizer, None, "<|end|>")
    assert texts.wanted(asked(OBJECT)) == Wanted(OBJECT)
    assert texts.wanted(Row("rows.jsonl:1", (), OBJECT)) == Wanted(OBJECT)


@pytest.mark.parametrize("lead", ["", "<think></think>"], ids=["left out", "another"])
def test_a_template_that_opens_an_answer_otherwise_than_it_writes_one_is_refused(lead: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfigError) as caught:
        tokens_of(tmp_path, lead, "<think>\n").length(asked(OBJECT))
    assert (caught.value.kind, caught.value.exit_code) == ("TemplateRefused", 64)
    assert "opens an answer with" in caught.value.message
    assert "<think>\\n', and writes the answer of rows.jsonl:1 with" in caught.value.message
    assert OBJECT in caught.value.message
