-- What leaves for analysis, of whole threads: those that changed since a moment, one thread, or all that are not
-- hidden. All statements of an export see the database as of the same moment.

-- name: count
-- How many rows each table will have, for a progress bar.
with chosen as (
    select t.thread_id from threads t
    where (%(thread_id)s::uuid is null and not t.hidden or t.thread_id = %(thread_id)s::uuid)
        and (%(since)s::timestamptz is null or greatest(t.updated_at, t.state_updated_at) >= %(since)s::timestamptz
            or exists (select from runs r where r.thread_id = t.thread_id and r.updated_at >= %(since)s::timestamptz))
)
select
    (select count(*) from chosen) as threads,
    (select count(*) from runs join chosen using (thread_id)) as runs,
    (select coalesce(sum(last_seq - first_seq + 1), 0)::bigint from run_events join chosen using (thread_id)) as events,
    (select count(*) from checkpoints c join chosen on c.thread_id = chosen.thread_id::text) as steps

-- name: threads
-- The chosen threads, in the order of their ids.
select t.thread_id, coalesce(t.metadata ->> 'graph_id', '') as graph_id,
    case when h.inflight > 0 then 'busy' else t.status end as status,
    t.created_at, t.updated_at, t.metadata::text, t."values"::text, t.error::text
from threads t
join thread_heads h on h.thread_id = t.thread_id
where (%(thread_id)s::uuid is null and not t.hidden or t.thread_id = %(thread_id)s::uuid)
    and (%(since)s::timestamptz is null or greatest(t.updated_at, t.state_updated_at) >= %(since)s::timestamptz
        or exists (select from runs r where r.thread_id = t.thread_id and r.updated_at >= %(since)s::timestamptz))
order by t.thread_id

-- name: runs
-- The runs of one thread, in the order they were made.
select run_id, assistant_id, graph_id, status, attempt, multitask_strategy, created_at, started_at, ended_at,
    metadata::text, kwargs::text, error::text
from runs where thread_id = %(thread_id)s
order by created_at, run_id
