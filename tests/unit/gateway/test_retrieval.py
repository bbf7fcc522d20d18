"""Two rankings become one, and distances one measure."""

import pytest
from hearth_gateway.retrieval import fuse, similarity
from made_passages import passage


def test_fusion_prefers_what_both_rankings_hold() -> None:
    a, b, c = passage(1, 0.9), passage(2, 0.8), passage(3, None)
    fused = fuse([[a, b], [c, passage(2, None)]], 60)
    assert [p.id for p in fused] == ["id2", "id1", "id3"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 62)
    assert fused[0].similarity == 0.8, "the cosine survives where the words found it too"


def test_euclidean_distances_become_cosines() -> None:
    # |a - b|^2 = 2 - 2 cos(a, b) for unit vectors.
    assert similarity("L2", 0.0) == 1.0
    assert similarity("L2", 2.0) == 0.0
    assert similarity("COSINE", 0.7) == 0.7
