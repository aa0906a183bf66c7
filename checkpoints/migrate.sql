-- What the migrator asks. The list of applied documents is threadline_migrations; LangGraph keeps its own.

-- name: try_lock
-- True for one session at a time; never waits.
select pg_try_advisory_lock(%(key)s)

-- name: try_lock_for_transaction
-- The same lock until the transaction ends, for where a session is not one's own.
select pg_try_advisory_xact_lock(%(key)s)

-- name: unlock
-- Hands the lock on at once instead of at the session's end.
select pg_advisory_unlock(%(key)s)

-- name: invalid_indexes
-- A CREATE INDEX CONCURRENTLY that was cut short leaves an invalid index that IF NOT EXISTS would keep.
select format('drop index concurrently if exists %%I.%%I', n.nspname, c.relname)
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid
  and n.nspname = %(schema)s
  and t.relname in ('checkpoints', 'checkpoint_blobs', 'checkpoint_writes', 'store', 'store_vectors', 'runs')

-- name: checkpoint_versions_exist
-- Whether LangGraph's saver has been set up here.
select to_regclass('checkpoint_migrations') is not null

-- name: checkpoint_versions
-- The saver's applied versions.
select v from checkpoint_migrations

-- name: store_versions_exist
-- Whether LangGraph's store has been set up here.
select to_regclass('store_migrations') is not null

-- name: store_versions
-- The store's applied versions.
select v from store_migrations

-- name: migrations_exist
-- Whether any of our own documents was ever applied.
select to_regclass('threadline_migrations') is not null

-- name: create_migrations
-- The list itself.
create table if not exists threadline_migrations (
    number integer primary key,
    name text not null,
    digest text not null,
    applied_at timestamptz not null default clock_timestamp()
)

-- name: applied
-- Numbers and digests of the documents applied so far.
select number, digest from threadline_migrations

-- name: record
-- In the transaction of the document itself: applied and recorded, or neither. An index that is built beside writers
-- is recorded behind that.
insert into threadline_migrations (number, name, digest) values (%(number)s, %(name)s, %(digest)s)
