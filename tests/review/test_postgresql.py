"""Decisions on a server: shared, gone and back, and never a password in a message."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.review.address import parse_store_address
from napari_memscan.review.audit import audit_store
from napari_memscan.review.claims import ClaimRegistry
from napari_memscan.review.store import DecisionStore

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE memscan_events SET decision = 'unsure'",
        "DELETE FROM memscan_events",
        "TRUNCATE memscan_events",
    ],
)
def test_the_server_refuses_changes(url, statement):
    store = DecisionStore(url)
    store.record("s0", "copy", "Ann")
    engine = sa.create_engine(url)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
    assert store.current()["s0"].decision == "copy"
    store.close()


def test_a_chain_cannot_fork_whoever_writes(url):
    store = DecisionStore(url)
    store.record("s0", "copy", "Ann")
    engine = sa.create_engine(url)
    second = (
        "INSERT INTO memscan_events SELECT 2, 's1', decision, reader, time, note, evidence, "
        "withdraws, confidence, seconds, stage, version, restores, previous, 'x' "
        "FROM memscan_events"
    )
    with pytest.raises(sa.exc.IntegrityError, match="previous"), engine.begin() as connection:
        connection.execute(sa.text(second))
    engine.dispose()
    store.close()


def test_a_server_that_is_gone_is_a_message_and_comes_back(url, postgresql):
    store = DecisionStore(url)
    store.record("s0", "copy", "Ann")
    postgresql.stop()
    try:
        with pytest.raises(JobFailed, match="Check that the server runs"):
            store.record("s1", "copy", "Ann")
        with pytest.raises(JobFailed, match="cannot be used now"):
            store.current()
    finally:
        postgresql.start()
    store.record("s1", "copy", "Ann")
    assert store.current().keys() == {"s0", "s1"}
    assert audit_store(store).intact
    store.close()


def test_a_writer_that_hangs_is_a_message(url, monkeypatch):
    monkeypatch.setattr("napari_memscan.review.database.PATIENCE", 1)
    store, other = DecisionStore(url), DecisionStore(url)
    with other.database.writing(), pytest.raises(JobFailed, match="decide again"):
        store.record("s0", "copy", "Ann")
    store.record("s0", "copy", "Ann")
    assert len(other.history()) == 1
    store.close()
    other.close()


def test_a_reader_needs_the_right_to_add_and_no_more(url):
    DecisionStore(url).close()
    owner = sa.create_engine(url)
    with owner.begin() as connection:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        for statement in (
            "DROP ROLE IF EXISTS ann",
            "CREATE ROLE ann LOGIN",
            "GRANT SELECT, INSERT ON memscan_events TO ann",
            "GRANT SELECT, INSERT ON memscan_about TO ann",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON memscan_claims TO ann",
            f"GRANT USAGE ON SCHEMA {schema} TO ann",
        ):
            connection.exec_driver_sql(statement)
    as_ann = url.replace("postgres@", "ann@")
    store = DecisionStore(as_ann, study="Knee")
    assert ClaimRegistry(store).claim("s0", "Ann") is not None
    store.record("s0", "copy", "Ann")
    assert audit_store(store).intact
    with owner.begin() as connection:
        connection.exec_driver_sql("REVOKE INSERT ON memscan_events FROM ann")
    with pytest.raises(JobFailed, match="rights to SELECT and INSERT"):
        store.record("s1", "copy", "Ann")
    store.close()
    with owner.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY ann")
        connection.exec_driver_sql("DROP ROLE ann")
    owner.dispose()


def test_another_study_is_refused(url):
    DecisionStore(url, study="Chest CT").close()
    DecisionStore(url, study="Chest CT").close()
    with pytest.raises(BadInput, match="decisions of study 'Chest CT', this one is 'Knee MR'"):
        DecisionStore(url, study="Knee MR")


def test_the_url_takes_the_environment_and_a_password_is_never_shown(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret:p@ss/word")
    monkeypatch.setenv("WHOLE", "postgres://ann:other-s3cret@db.example:5433/review")
    address = parse_store_address("postgresql://ann:${SECRET}@db.example/review")
    assert address.url.password == "s3cret:p@ss/word"
    assert address.url.drivername == "postgresql+psycopg"
    assert address.shown == "PostgreSQL database 'review' on db.example"
    whole = parse_store_address("${WHOLE}")
    assert whole.url.password == "other-s3cret"
    assert whole.shown == "PostgreSQL database 'review' on db.example:5433"
    assert "s3cret" not in f"{address!r} {whole!r}"
    with pytest.raises(BadInput, match="variable MISSING is not set"):
        parse_store_address("postgresql://ann:${MISSING}@db.example/review")
    for wrong in ("mysql://ann:s3cret@host/x", "postgresql://ann:s3cret@host:port/x", "://s3cret"):
        with pytest.raises(BadInput) as error:
            parse_store_address(wrong)
        assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("query", ["", "?password=s3cret", "?passfile=s3cret"])
def test_a_refused_connection_shows_no_password(query):
    pytest.importorskip("psycopg")
    with pytest.raises(JobFailed) as error:
        DecisionStore(f"postgresql://ann:s3cret@127.0.0.1:1/review{query}")
    assert "on 127.0.0.1:1" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_missing_driver_is_a_message(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(JobFailed, match=r"pip install 'napari-memscan\[postgresql\]'"):
        DecisionStore("postgresql://ann@127.0.0.1:1/review")
