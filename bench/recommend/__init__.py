"""`bench recommend`: the best valid scenario of a run for a wish, and the code to use it."""

from __future__ import annotations

from bench.recommend.rules import Recommendation, Wish, recommend

__all__ = ["Recommendation", "Wish", "recommend"]
