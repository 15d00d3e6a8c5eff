"""How often strangers may be taken for somebody: what the thresholds in use follow from."""

import os
from dataclasses import dataclass

from services.embedder.recognition.thresholds import HIGHEST_FMR, LOWEST_FMR


@dataclass(frozen=True)
class Rates:
    """The rates that are asked for.

    Attributes:
        fmr: false match rate of 1:1, see thresholds.py; None: each model's usual one.
        fpir: false positive identification rate of 1:N: the share of searches with a stranger's face that find somebody.
    """

    fmr: float | None = None
    fpir: float = 0.01

    @classmethod
    def from_environment(cls) -> "Rates":
        """RECO_FMR and RECO_FPIR; raises SystemExit where they are no rates."""
        fmr = os.environ.get("RECO_FMR", "").strip()
        fpir = os.environ.get("RECO_FPIR", "").strip()
        return cls(
            _rate("RECO_FMR", fmr, LOWEST_FMR, HIGHEST_FMR) if fmr else None,
            _rate("RECO_FPIR", fpir, 1e-4, 1.0) if fpir else cls.fpir,
        )

    def of_search(self, usual_fmr: float, people: int) -> float:
        """The FMR at which comparing a stranger with so many people finds somebody at most as often as `fpir` says.

        It is never higher than that of 1:1.
        """
        return max(LOWEST_FMR, min(usual_fmr, self.fpir / max(1, people)))


def _rate(name: str, value: str, lowest: float, highest: float) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = -1.0
    if not lowest <= rate <= highest:
        raise SystemExit(f"{name}={value}: a share from {lowest:g} to {highest:g} is needed; 0.0001 is one in 10,000")
    return rate
