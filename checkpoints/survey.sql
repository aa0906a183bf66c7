-- What a database holds that other servers and savers left there. Only read.

-- name: version
-- As a number: 150004 for 15.4.
select current_setting('server_version_num')::integer, current_setting('server_encoding')

-- name: columns
-- The columns of the tables in the schema that is in use, with their types.
select table_name::text, column_name::text, data_type::text
from information_schema.columns
where table_schema = %(schema)s

-- name: may_create
-- Whether the account may create what `threadline migrate` creates.
select coalesce(
    (select has_schema_privilege(oid, 'create') from pg_namespace where nspname = %(schema)s),
    has_database_privilege(current_database(), 'create')
)

-- name: checkpoint_version
-- How far LangGraph's saver was set up.
select coalesce(max(v), -1) from checkpoint_migrations

-- name: threads
-- How many threads have checkpoints, and how many of their ids are UUIDs, which ids of threads must be here.
select count(*), count(*) filter (where t.thread_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')
from (select distinct c.thread_id::text from checkpoints c) as t (thread_id)

-- name: unknown_threads
-- How many of those have no head, so that no client can reach them yet.
select count(*)
from (select distinct c.thread_id::text from checkpoints c) as t (thread_id)
where not exists (select from thread_heads h where h.thread_id::text = lower(t.thread_id))

-- name: types
-- In which forms values are stored, and how many of each.
select type::text, count(*) from (
    select type from checkpoint_blobs union all select type from checkpoint_writes
) as stored (type)
group by type
order by type

-- name: sample
-- The newest values, to be read as a trial: of the latest checkpoints first, as far as ids tell.
select type::text, blob
from checkpoint_blobs
where blob is not null and type = 'msgpack' and octet_length(blob) < 1000000
order by version desc
limit %(limit)s
