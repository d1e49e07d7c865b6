"""How far a run has come: what a checkpoint keeps of it beside the weights."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import SiteCode
from common.evaluation.scores import ScoreState


@dataclass(slots=True)
class Progress:
    """The rounds done, the best of them by validation, who took part, and whom the run lost.

    Attributes:
        out: Sites that refuse to train for reasons that later rounds would only repeat.
    """

    rounds_done: int = 0
    best_round: int = 0
    best_merit: float = -math.inf
    best_val: dict[str, ScoreState] = field(default_factory=dict)
    rounds_of: dict[str, int] = field(default_factory=dict)
    lost: dict[str, SiteCode] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)

    def keep_if_best(self, round_index: int, merit: float | None, states: Mapping[str, ScoreState]) -> bool:
        """Returns whether the round becomes the chosen one; of equals, the later."""
        if merit is None or merit < self.best_merit:
            return False
        self.best_round, self.best_merit, self.best_val = round_index, merit, dict(states)
        return True

    def count(self, round_index: int, joined: Iterable[str], failures: Mapping[str, SiteCode]) -> None:
        """Writes down that the round is done, with whom and without whom."""
        self.rounds_done = round_index
        for site in joined:
            self.rounds_of[site] = self.rounds_of.get(site, 0) + 1
        self.lost |= failures

    def miss(self, connected: Container[str]) -> None:
        """Counts as lost whoever took part before the run was interrupted and is not there any more."""
        for site in self.rounds_of:
            if site not in connected:
                self.lost.setdefault(site, SiteCode.UNAVAILABLE)

    def reason(self) -> str:
        """Returns who was lost and by which code; empty when nobody was."""
        if not self.lost:
            return ""
        return "lost: " + ", ".join(f"{site} ({code})" for site, code in sorted(self.lost.items()))

    def notes(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps, for JSON."""
        return {
            "best_round": self.best_round,
            "best_merit": self.best_merit if self.best_round else None,
            "best_val": {site: state.to_json() for site, state in self.best_val.items()},
            "rounds_of": self.rounds_of,
            "lost": {site: code.value for site, code in self.lost.items()},
            "out": sorted(self.out),
        }

    def recall(self, round_index: int, notes: Mapping[str, Any], bins: int) -> None:
        """Goes on from a checkpoint's notes; whom this run has lost already stays lost."""
        self.rounds_done, self.best_round = round_index, notes["best_round"]
        self.best_merit = notes["best_merit"] if self.best_round else -math.inf
        self.best_val = {site: ScoreState.from_json(state, bins) for site, state in notes["best_val"].items()}
        self.rounds_of = dict(notes["rounds_of"])
        self.lost |= {site: SiteCode(code) for site, code in notes["lost"].items()}
        self.out |= set(notes["out"])
