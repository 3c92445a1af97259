"""The numbers of the paper, for comparison: Pandaram et al., AAAI-26, arXiv 2511.08086."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAPER_TABLE_1", "PaperZeros"]


@dataclass(frozen=True)
class PaperZeros:
    """A row of the paper's Table 1.

    Attributes:
        ds: Size of the state.
        da: Size of the action.
        zeros_s: Entries of J_s that are zero in every sample.
        zeros_a: Entries of J_a that are zero in every sample.
    """

    ds: int
    da: int
    zeros_s: int
    zeros_a: int


PAPER_TABLE_1 = {
    "BallInCup": PaperZeros(8, 2, 0, 0),
    "CartpoleBalance": PaperZeros(4, 1, 0, 0),
    "CheetahRun": PaperZeros(18, 6, 17, 0),
    "ReacherHard": PaperZeros(4, 2, 3, 0),
    "FingerSpin": PaperZeros(6, 2, 0, 0),
    "FingerTurnEasy": PaperZeros(6, 2, 0, 0),
    "WalkerRun": PaperZeros(18, 6, 17, 0),
    "SwimmerSwimmer6": PaperZeros(16, 5, 30, 0),
}
"""Table 1 by task."""
