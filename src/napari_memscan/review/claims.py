"""Who is reading what: two readers do not get the same case unless they ask for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, text

from napari_memscan.errors import BadInput
from napari_memscan.review.database import CLAIMS_TABLE
from napari_memscan.review.store import DecisionStore

CLAIM_MINUTES = 15.0
"""A claim that nobody renews is free again after this."""


@dataclass(frozen=True)
class Claim:
    """A case that somebody reads now.

    Attributes
    ----------
    sample : str
        Such as ``s000003``.
    reader : str
        Who.
    until : float
        Seconds since 1970, by the clock of the database.
    """

    sample: str
    reader: str
    until: float


class ClaimRegistry:
    """Claims in a store's database: a table of its own, no part of what is recorded.

    Parameters
    ----------
    store : DecisionStore
        Whose database is used.
    minutes : float
        A claim that is not renewed ends after this: a window that was killed blocks nobody.
    """

    def __init__(self, store: DecisionStore, minutes: float = CLAIM_MINUTES) -> None:
        self._database, self.minutes = store.database, minutes

    def claim(self, sample: str, reader: str, *, share: bool = False) -> Claim | None:
        """Claim a case, or renew a claim; of two readers at the same time one gets it.

        Parameters
        ----------
        sample, reader : str
            Case, and who.
        share : bool
            Also when another reader holds it: asked for on purpose.

        Returns
        -------
        Claim or None
            None when another reader holds it; see `held_by_others`.
        """
        reader = reader.strip()
        if not reader:
            raise BadInput("a claim needs the reader's name.")
        with self._database.writing() as connection:
            now = self._now(connection)
            connection.execute(delete(CLAIMS_TABLE).where(CLAIMS_TABLE.c.until <= now))
            query = select(CLAIMS_TABLE.c.reader).where(CLAIMS_TABLE.c.sample == sample)
            holders = set(connection.execute(query).scalars())
            if holders - {reader} and not share:
                return None
            claim = Claim(sample, reader, now + 60 * self.minutes)
            self._drop(connection, sample, reader)
            connection.execute(insert(CLAIMS_TABLE).values(vars(claim)))
            return claim

    def release(self, reader: str, sample: str | None = None) -> None:
        """Give up a claim, or all of this reader; nothing happens where there is none."""
        with self._database.writing() as connection:
            self._drop(connection, sample, reader.strip())

    def held_by_others(self, reader: str) -> dict[str, str]:
        """Return sample to the reader that holds it, for all readers but this one."""
        with self._database.reading() as connection:
            now = self._now(connection)
            query = select(CLAIMS_TABLE).where(
                CLAIMS_TABLE.c.until > now, CLAIMS_TABLE.c.reader != reader.strip()
            )
            rows = connection.execute(query.order_by(CLAIMS_TABLE.c.until)).mappings()
            return {row["sample"]: row["reader"] for row in rows}

    def _drop(self, connection: Connection, sample: str | None, reader: str) -> None:
        gone = delete(CLAIMS_TABLE).where(CLAIMS_TABLE.c.reader == reader)
        connection.execute(gone if sample is None else gone.where(CLAIMS_TABLE.c.sample == sample))

    def _now(self, connection: Connection) -> float:
        # One clock for all: those of two reading rooms may differ by more than a claim lasts.
        if self._database.address.shared:
            query = text("SELECT extract(epoch FROM clock_timestamp())")
            return float(connection.execute(query).scalar_one())
        return time.time()
