-- What goes when its time is over.

-- name: take_expired
-- Threads of stateless runs whose time is over, none of them at work; a head that somebody holds is left for later.
select h.thread_id
from threads t
join thread_heads h on h.thread_id = t.thread_id
where t.hidden and t.expires_at < clock_timestamp() and h.inflight = 0
order by t.expires_at
limit %(batch)s
for no key update of h skip locked

-- name: delete_threads
-- Run behind take_expired, in its transaction: everything of these threads, in one statement.
with gone as materialized (
    select thread_id, thread_id::text as name from unnest(%(thread_ids)s::uuid[]) as t (thread_id)
), checkpoint as (
    delete from checkpoints c using gone where c.thread_id = gone.name
), blob as (
    delete from checkpoint_blobs b using gone where b.thread_id = gone.name
), write as (
    delete from checkpoint_writes w using gone where w.thread_id = gone.name
), base as (
    delete from run_bases b using gone where b.thread_id = gone.thread_id
), base_write as (
    delete from run_base_writes w using gone where w.thread_id = gone.thread_id
), event as (
    delete from run_events e using gone where e.thread_id = gone.thread_id
), run as (
    delete from runs r using gone where r.thread_id = gone.thread_id
), thread as (
    delete from threads t using gone where t.thread_id = gone.thread_id
)
delete from thread_heads h using gone where h.thread_id = gone.thread_id
