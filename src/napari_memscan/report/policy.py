"""Which volumes may be released: the program's verdict and what readers said, by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_memscan.typing import Decision, Verdict

PASSED, REJECTED, UNREAD = "passed", "rejected", "unread"

SAMPLE_REPLACED = "replaced by another sample"
READER_DECIDED_COPY = "a reader decided copy"
READERS_UNSURE = "no reader was sure"
READERS_DISAGREE = "readers disagree"


@dataclass(frozen=True)
class PolicyOutcome:
    """What a policy says of one volume.

    Attributes
    ----------
    status : str
        ``passed``, ``rejected``, or ``unread``: somebody must read it first.
    why : str
        In words; for a passed volume who let it pass.
    """

    status: str
    why: str


@dataclass(frozen=True)
class ReleasePolicy:
    """Which volumes may be released.

    Attributes
    ----------
    rule : tuple of Verdict
        Verdicts that pass without a reader; empty where the detector has no power.
    readers : {"called", "all", "none"}
        What must be read: volumes whose verdict does not pass by `rule`; every volume; nothing.
    wanted : int
        So many readers must have read a volume that is to be read.
    """

    rule: tuple[Verdict, ...] = (Verdict.NOVEL,)
    readers: Literal["called", "all", "none"] = "called"
    wanted: int = 1

    def outcome(
        self, verdict: Verdict, said: Sequence[str] = (), replaced: bool = False
    ) -> PolicyOutcome:
        """Judge one volume.

        Parameters
        ----------
        verdict : Verdict
            Of the program.
        said : sequence of str
            What each reader decided last; withdrawn decisions are none.
        replaced : bool
            Another sample stands in its place.

        Notes
        -----
        A decision can always take a volume out, whatever the rule. It can let one pass that the
        program calls, unless nobody is asked to read.
        """
        if replaced:
            return PolicyOutcome(REJECTED, SAMPLE_REPLACED)
        if len(set(said)) > 1:
            return PolicyOutcome(REJECTED, READERS_DISAGREE)
        if Decision.COPY in said:
            return PolicyOutcome(REJECTED, READER_DECIDED_COPY)
        if Decision.UNSURE in said:
            return PolicyOutcome(REJECTED, READERS_UNSURE)
        by_rule = verdict in self.rule
        if self.readers == "none":
            return PolicyOutcome(PASSED if by_rule else REJECTED, f"the program says {verdict}")
        if by_rule and self.readers != "all":
            return PolicyOutcome(PASSED, f"the program says {verdict}")
        if len(said) < self.wanted:
            return PolicyOutcome(UNREAD, f"the program says {verdict}")
        return PolicyOutcome(PASSED, "a reader decided not a copy")
