"""Where a store is: a file, or a database by URL, without showing a password to anybody."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from napari_memscan.errors import BadInput

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_POSTGRESQL_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is.

    Attributes
    ----------
    url : URL
        For SQLAlchemy; holds the password.
    shown : str
        For people and messages; holds none.
    """

    url: URL
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def shared(self) -> bool:
        """Whether it is a server, which other studies may use as well."""
        return self.url.get_backend_name() != "sqlite"

    def clean(self, text: str) -> str:
        """Return what a database said, without the password."""
        query = [v for v in self.url.query.values() if isinstance(v, str) and len(v) > 3]
        # Of the query only what may be secret: the driver also takes ?password=...
        for secret in (self.url.password, *(v for v in query if v != self.url.host)):
            if secret:
                text = text.replace(str(secret), "***")
        return text


def parse_store_address(where: str | Path) -> StoreAddress:
    """Return where a store is.

    Parameters
    ----------
    where : path or str
        A file; or the URL of a PostgreSQL database (``postgresql://reader@host/name``) or SQLite
        file. ``${NAME}`` in a URL is the environment variable of that name, taken as it is: a
        password in it needs no percent signs.

    Raises
    ------
    BadInput
        No such URL, another kind of database, or a variable that is not set.
    """
    text = str(where)
    whole = _VARIABLE.fullmatch(text.strip())
    if whole:
        text = _read_variable(whole.group(1))
    if "://" not in text:
        # Not put together as text: a folder's name may hold '?' or '%'.
        return StoreAddress(URL.create("sqlite", database=text), text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Without the text, and what it came from: either may show a password.
        raise BadInput(
            "the store of decisions: no URL that can be understood. Write "
            "postgresql://reader:${PASSWORD}@host/database in study.toml, with the password in "
            "the environment variable PASSWORD."
        ) from None
    url = URL.create(
        url.drivername,
        username=_fill_variables(url.username),
        password=_fill_variables(url.password if url.password is None else str(url.password)),
        host=_fill_variables(url.host),
        port=url.port,
        database=_fill_variables(url.database),
        query={
            k: _VARIABLE.sub(_substitute_variable, v) if isinstance(v, str) else v
            for k, v in url.query.items()
        },
    )
    if url.drivername in _POSTGRESQL_DRIVERS:
        url = url.set(drivername="postgresql+psycopg")
    elif url.drivername != "sqlite":
        raise BadInput(
            f"the store of decisions: {url.drivername} is no database that decisions are kept in. "
            "Use a file, or postgresql://..."
        )
    return StoreAddress(url, _describe_url(url))


def _describe_url(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # Not only the password: what else a URL says of a hospital's server stays out of messages.
    host = url.host or url.query.get("host") or "this machine"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL database '{url.database}' on {host}{port}"


def _fill_variables(part: str | None) -> str | None:
    return part if part is None else _VARIABLE.sub(_substitute_variable, part)


def _substitute_variable(match: re.Match[str]) -> str:
    return _read_variable(match.group(1))


def _read_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise BadInput(
            f"the store of decisions: the environment variable {name} is not set, and study.toml "
            f"names it. Set it and start again."
        )
    return value
