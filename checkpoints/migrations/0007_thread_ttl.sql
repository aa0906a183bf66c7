-- Why: threads may have a time to live, their own or a default, after which they are deleted or pruned. Items of
--      the store may live for fractions of a minute, which LangGraph's whole number rounds to nothing on a read.
-- Locks: threads for the moment of adding columns; store while its column gets the other type, which rewrites it.
-- Previous release: writes neither column; it sweeps hidden threads only, as before, but would delete a thread
--      whose time is over instead of pruning it.

set local lock_timeout = '4s';

-- null: the default applies, once a sweep gets there; negative: never expires
alter table threads
    add column ttl_minutes double precision,
    add column ttl_strategy text constraint threads_ttl_strategy check (ttl_strategy in ('delete', 'keep_latest'));

-- What langgraph.json says, and since when; threads that are older keep living.
create table thread_ttl_default (
    single boolean primary key default true constraint thread_ttl_default_single check (single),
    ttl_minutes double precision not null,
    ttl_strategy text not null,
    since timestamptz not null default clock_timestamp()
);

alter table store alter column ttl_minutes type double precision;
