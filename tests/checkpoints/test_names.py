"""What of a statement gets a schema in front of it, and what does not."""

import pytest

from threadline.checkpoints.schema import Schema

OURS = Schema("ours")


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("select 1 from runs", 'select 1 from "ours".runs'),
        ("select 1 FROM Runs R, threads t, head", 'select 1 FROM "ours".Runs R, "ours".threads t, head'),
        ("select r.a, runs from x, lateral (select runs, threads from y) z", None),
        ("insert into runs (run_id) values (1)", 'insert into "ours".runs (run_id) values (1)'),
        ("update runs set runs = 1", 'update "ours".runs set runs = 1'),
        ("delete from runs using threads t", 'delete from "ours".runs using "ours".threads t'),
        ("select runs.run_id from public.runs", None),
        ("select count(*) as runs, 'from runs' -- from runs", None),
        ('select "runs" from x /* from runs */ where y = $$plain$$', None),
        ("select 1 from x where a = %(runs)s and b = %(from)s", None),
        ("select to_regclass('runs'), lower('runs')", "select to_regclass('\"ours\".runs'), lower('runs')"),
        ("create index runs_x on runs (x)", 'create index runs_x on "ours".runs (x)'),
        ("create index concurrently if not exists runs_x on runs (x)", None),
        ("drop index concurrently if exists runs_x", 'drop index concurrently if exists "ours".runs_x'),
        ("comment on column runs.error is 'runs'", "comment on column \"ours\".runs.error is 'runs'"),
        ("drop index runs_x", 'drop index "ours".runs_x'),
        ("create function owe_webhook() returns trigger", 'create function "ours".owe_webhook() returns trigger'),
        ("do $$ begin insert into runs select 1; end $$", 'do $$ begin insert into "ours".runs select 1; end $$'),
        ("create extension if not exists vector;", 'create extension if not exists vector schema "public";'),
        ("select a <=> b::vector from x", 'select a operator("public".<=>) b::"public".vector from x'),
        ("select a <=> b from x", None),
        ("create table store (embedding vector(3))", 'create table "ours".store (embedding "public".vector(3))'),
    ],
)
def test_names_of_ours_get_the_schema_where_they_mean_ours(written: str, sent: str | None) -> None:
    if sent is None and " on runs " in written:
        sent = written.replace(" on runs ", ' on "ours".runs ')
    assert OURS.qualify(written) == (sent or written)
    assert OURS.qualify(written.encode()) == (sent or written).encode()


def test_what_was_qualified_stays_as_it_is() -> None:
    once = OURS.qualify("select a <=> %(x)s::vector from store_vectors where to_regclass('runs') is null")
    assert OURS.qualify(once) == once


def test_an_extension_that_is_found_elsewhere_is_meant_from_then_on() -> None:
    schema = Schema("ours")
    assert schema.qualify("select x::vector") == 'select x::"public".vector'
    schema.place_extensions("extensions")
    assert schema.qualify("select x::vector") == 'select x::"extensions".vector'


def test_statements_that_never_come_again_are_not_kept_for_ever() -> None:
    schema = Schema("ours")
    for number in range(5_000):
        schema.qualify(f"select {number} from runs".encode())
    assert schema.remembered <= 2_000
