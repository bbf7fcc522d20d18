"""LLMService specs: a ten-line one is enough, and contradictions are told."""

from typing import Any

import pytest
from hearth.api.llmservice import LLMServiceSpec
from hearth.plan.validation import Invalid, parse

MODEL: dict[str, Any] = {"model": {"uri": "oci://models/court"}}


def test_a_model_is_all_that_is_needed() -> None:
    spec = parse(LLMServiceSpec, MODEL)
    assert not isinstance(spec, Invalid)
    assert (spec.task, spec.replicas, spec.suspend) == ("Generate", 1, False)


def test_other_engine_flags_are_free() -> None:
    flags = {"enable-prefix-caching": "true", "tokenizer-mode": "slow", "max-loras": "2", "model-impl": "auto"}
    assert not isinstance(parse(LLMServiceSpec, MODEL | {"engine": {"args": flags}}), Invalid)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.model: required"),
        ({"model": {}}, "exactly one of uri and fromFineTune"),
        (MODEL | {"task": "Chat"}, '"Chat" is not one of'),
        (MODEL | {"task": "Embed", "rag": {"indexRef": {"name": "h"}}}, "rag needs task: Generate"),
        (MODEL | {"task": "Embed", "sampling": {"seed": 1}}, "sampling needs task: Generate"),
        (MODEL | {"task": "Embed", "prompt": {"system": "x"}}, "prompt needs task: Generate"),
        (MODEL | {"task": "Embed", "gateway": {"replicas": 2}}, "only where access.apiKeysSecretRef is set"),
        (MODEL | {"sampling": {"temperature": "2.5"}}, 'temperature must lie between "0" and "2"'),
        (MODEL | {"sampling": {"temperature": 0.5}}, 'write "0.5", quoted'),
        (MODEL | {"sampling": {"topP": "0"}}, 'topP must be above "0"'),
        (MODEL | {"sampling": {"lock": ["seed"]}}, "lock names seed, which has no value here"),
        (MODEL | {"engine": {"args": {"max-model-len": "5"}}}, "args may not hold a flag that another field sets"),
        (MODEL | {"engine": {"args": {"max-model": "5"}}}, "args may not hold a flag that another field sets"),
        (MODEL | {"engine": {"args": {"gpu-memory-utilization": "0.99"}}}, "how much memory the engine takes"),
        (MODEL | {"engine": {"args": {"gpu-memory-util": "0.99"}}}, "how much memory the engine takes"),
        (MODEL | {"engine": {"args": {"trust-remote-code": "true"}}}, "runs code of a model repository"),
        (MODEL | {"engine": {"args": {"ssl-keyfile": "/key"}}}, "TLS ends before the gateway"),
        (MODEL | {"engine": {"args": {"--enable-lora": "true"}}}, "without their leading dashes"),
        (MODEL | {"rag": {"indexRef": {"name": "h"}, "topK": 9, "candidates": 5}}, "candidates must reach topK"),
        (MODEL | {"rag": {"indexRef": {"name": "h"}, "promptTemplate": "{question}"}}, "must hold {passages}"),
        (
            MODEL | {"rag": {"indexRef": {"name": "h"}, "retrieval": "Dense", "fusion": {"k": 10}}},
            "fusion needs Hybrid retrieval",
        ),
        (MODEL | {"rag": {"indexRef": {"name": "h"}, "abstain": {"minSimilarity": "1.5"}}}, "minSimilarity must lie"),
        (MODEL | {"modle": {}}, "spec.modle: unknown field"),
    ],
)
def test_a_contradiction_is_told(spec: dict[str, Any], said: str) -> None:
    parsed = parse(LLMServiceSpec, spec)
    assert isinstance(parsed, Invalid)
    assert said in parsed.message
