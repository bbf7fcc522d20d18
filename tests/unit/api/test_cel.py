"""The CEL subset gives what the API server's evaluator gives."""

import pytest
from hearth.api.cel import compile_rule, holds
from hearth.api.cel_functions import CelError

SPEC = {
    "uri": "hf://org/model",
    "broken": "a\n",
    "price": "$5",
    "count": 2,
    "ratio": "0.05",
    "size": "20Gi",
    "flag": False,
    "names": ["a", "b", "b"],
    "labels": {"app": "court"},
    "nested": {"inner": {"leaf": 1}},
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("has(self.uri)", True),
        ("has(self.absent)", False),
        ("has(self.nested.inner.leaf) && self.nested.inner.leaf == 1", True),
        ("has(self.uri) != has(self.count)", False),
        ("!has(self.absent) || self.absent > 3", True),
        ("self.uri.startsWith('hf://') && !self.uri.endsWith('x')", True),
        ("self.uri.matches('^(hf|pvc)://.+')", True),
        (r"self.uri.matches(r'^\w+://')", True),
        ("self.broken.matches('^a$')", False),
        ("self.broken.matches('^a(/|$)')", False),
        (r"self.price.matches('^\\$[0-9]$')", True),
        ("self.uri.contains('org')", True),
        ("self.count in [1, 2, 4]", True),
        ("'app' in self.labels", True),
        ("self.labels['app'] == 'court'", True),
        ('self.names[0] == "a"', True),
        ("double(self.ratio) > 0.0 && double(self.ratio) < 1.0", True),
        ("double(self.ratio) > 0 && double(self.ratio) < 1", True),
        ("quantity(self.size).isGreaterThan(quantity('10G'))", True),
        ("quantity(self.size).compareTo(quantity('20Gi')) == 0", True),
        ("duration('1h30m') > duration('80m')", True),
        ("size(self.names) == self.names.size()", True),
        ("self.names.all(n, n.size() == 1)", True),
        ("self.names.exists(n, n == 'c')", False),
        ("self.names.exists_one(n, n == 'a')", True),
        ("self.names.exists_one(n, n == 'b')", False),
        ("self.names.filter(n, n == 'b').size() == 2", True),
        ("self.names.map(n, n + n) == ['aa', 'bb', 'bb']", True),
        ("self.labels.all(k, k != 'team')", True),
        ("(self.flag ? 1 : 2) == 2", True),
        ("self.flag ? false : self.count > 1 ? true : false", True),
        ("7 / 2 == 3 && -7 / 2 == -3 && 7 % 4 == 3", True),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9", True),
        ("true || self.absent == 1", True),
        ("self.absent == 1 || true", True),
        ("self.absent == 1 && false", False),
        ("string(self.count) == '2' && int('3') == 3", True),
    ],
)
def test_a_rule_has_the_value_that_cel_defines(rule: str, expected: bool) -> None:
    assert holds(rule, {"self": SPEC}) is expected


@pytest.mark.parametrize(
    "rule",
    [
        "self.absent == 1",
        "double(self.uri) > 0.0",
        "self.count",
        "self.count + 'x' == 'y'",
        "other.x == 1",
        "quantity('2Gi') >= quantity('1Gi')",
    ],
)
def test_a_rule_without_a_value_is_broken_as_at_admission(rule: str) -> None:
    assert not holds(rule, {"self": SPEC})


def test_true_is_not_one() -> None:
    assert not holds("self.flag == 0", {"self": SPEC})


@pytest.mark.parametrize(
    "source", ["self.a ==", "self.a ~ 1", "frobnicate(self.a)", "self.a.frobnicate()", "(self.a", "1 2"]
)
def test_what_the_subset_lacks_is_refused_when_compiled(source: str) -> None:
    with pytest.raises(CelError):
        compile_rule(source)


def test_variables_of_macros_do_not_leak() -> None:
    assert not holds("self.names.all(n, true) && n == 'a'", {"self": SPEC})
