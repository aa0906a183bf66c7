-- Threads as clients see them. A thread and its head are born and die together; `status` is what the last run
-- left behind unless runs are in flight, and nothing here writes what a run writes.

-- name: create
-- The head first, as everywhere, so that two creators of one thread cannot deadlock.
-- Answers no row when the thread exists.
with head as (
    insert into thread_heads (thread_id) values (%(thread_id)s)
    on conflict (thread_id) do nothing
    returning thread_id
)
insert into threads (thread_id, metadata, ttl_minutes, ttl_strategy, expires_at)
select head.thread_id, %(metadata)s::jsonb, ttl.minutes, coalesce(%(ttl_strategy)s::text, d.ttl_strategy, 'delete'),
    case when ttl.minutes >= 0 then clock_timestamp() + make_interval(secs => ttl.minutes * 60) end
from head
left join thread_ttl_default d on true
cross join lateral (select coalesce(%(ttl_minutes)s::float8, d.ttl_minutes) as minutes) ttl
returning thread_id, metadata, config, status, "values", interrupts, error,
    created_at, updated_at, state_updated_at, ttl_minutes, ttl_strategy, expires_at

-- name: get
-- Hidden threads can be read by whoever knows their id, and may.
select t.thread_id, t.metadata, t.config, case when h.inflight > 0 then 'busy' else t.status end as status,
    t."values", t.interrupts, t.error, t.created_at, t.updated_at, t.state_updated_at,
    t.ttl_minutes, t.ttl_strategy,
    case when t.ttl_minutes >= 0
        then greatest(t.expires_at, t.updated_at + make_interval(secs => t.ttl_minutes * 60)) end as expires_at
from threads t
join thread_heads h on h.thread_id = t.thread_id
where t.thread_id = %(thread_id)s and t.metadata @> %(granted)s::jsonb

-- name: patch
-- Keys given replace keys that are there, others stay. Locks the thread's own row only: metadata is not
-- part of what a run's fence protects.
update threads t
set metadata = t.metadata || %(metadata)s::jsonb, updated_at = clock_timestamp(),
    ttl_minutes = coalesce(%(ttl_minutes)s::float8, t.ttl_minutes),
    ttl_strategy = coalesce(%(ttl_strategy)s::text, t.ttl_strategy, 'delete'),
    expires_at = case
        when t.hidden or %(ttl_minutes)s::float8 is null then t.expires_at
        when %(ttl_minutes)s::float8 >= 0 then clock_timestamp() + make_interval(secs => %(ttl_minutes)s::float8 * 60)
    end
from thread_heads h
where t.thread_id = %(thread_id)s and h.thread_id = t.thread_id and t.metadata @> %(granted)s::jsonb
returning t.thread_id, t.metadata, t.config, case when h.inflight > 0 then 'busy' else t.status end as status,
    t."values", t.interrupts, t.error, t.created_at, t.updated_at, t.state_updated_at,
    t.ttl_minutes, t.ttl_strategy,
    case when t.ttl_minutes >= 0
        then greatest(t.expires_at, t.updated_at + make_interval(secs => t.ttl_minutes * 60)) end as expires_at

-- name: lock_head
-- From here to the commit no run of the thread writes; a flush that waits finds what this transaction leaves.
-- One that says nothing for a minute is ended, see queue.sql.
select thread_id from thread_heads
where thread_id = %(thread_id)s and set_config('idle_in_transaction_session_timeout', '60s', true) is not null
for no key update

-- name: delete
-- Run behind lock_head, as a statement of its own: it then sees everything that was committed before the lock
-- was had. Without its head no run can write to the thread any more.
with checkpoint as (
    delete from checkpoints where thread_id = %(thread_id)s::uuid::text
), blob as (
    delete from checkpoint_blobs where thread_id = %(thread_id)s::uuid::text
), write as (
    delete from checkpoint_writes where thread_id = %(thread_id)s::uuid::text
), base as (
    delete from run_bases where thread_id = %(thread_id)s
), base_write as (
    delete from run_base_writes where thread_id = %(thread_id)s
), event as (
    delete from run_events where thread_id = %(thread_id)s
), run as (
    delete from runs where thread_id = %(thread_id)s
), thread as (
    delete from threads where thread_id = %(thread_id)s
)
delete from thread_heads where thread_id = %(thread_id)s

-- name: search
-- A parameter that is null filters nothing. `values` may hold U+0000, which jsonb refuses: it is compared as
-- U+FFFD. All but one line of `order by` are constants to the planner, so the default order reads its index.
select t.thread_id, t.metadata, t.config, case when h.inflight > 0 then 'busy' else t.status end as status,
    t."values", t.interrupts, t.error, t.created_at, t.updated_at, t.state_updated_at
from threads t
join thread_heads h on h.thread_id = t.thread_id
where not t.hidden
    and t.metadata @> %(granted)s::jsonb
    and (%(ids)s::uuid[] is null or t.thread_id = any(%(ids)s::uuid[]))
    and (%(metadata)s::jsonb is null or t.metadata @> %(metadata)s::jsonb)
    and (
        %(status)s::text is null
        or case when h.inflight > 0 then 'busy' else t.status end = %(status)s::text
    )
    and (
        %(values)s::text is null
        or replace(t."values"::text, '\u0000', '\ufffd')::jsonb
            @> replace(%(values)s::text, '\u0000', '\ufffd')::jsonb
    )
order by
    case when %(order)s::text = 'created_at desc' then t.created_at end desc,
    case when %(order)s::text = 'created_at asc' then t.created_at end,
    case when %(order)s::text = 'updated_at desc' then t.updated_at end desc,
    case when %(order)s::text = 'updated_at asc' then t.updated_at end,
    case when %(order)s::text = 'state_updated_at desc' then t.state_updated_at end desc,
    case when %(order)s::text = 'state_updated_at asc' then t.state_updated_at end,
    case when %(order)s::text = 'status desc' then case when h.inflight > 0 then 'busy' else t.status end end desc,
    case when %(order)s::text = 'status asc' then case when h.inflight > 0 then 'busy' else t.status end end,
    case when %(order)s::text = 'thread_id desc' then t.thread_id end desc,
    t.thread_id
limit %(limit)s offset %(offset)s

-- name: count
-- How many threads `search` would find with the same filters.
select count(*)
from threads t
join thread_heads h on h.thread_id = t.thread_id
where not t.hidden
    and t.metadata @> %(granted)s::jsonb
    and (%(metadata)s::jsonb is null or t.metadata @> %(metadata)s::jsonb)
    and (
        %(status)s::text is null
        or case when h.inflight > 0 then 'busy' else t.status end = %(status)s::text
    )
    and (
        %(values)s::text is null
        or replace(t."values"::text, '\u0000', '\ufffd')::jsonb
            @> replace(%(values)s::text, '\u0000', '\ufffd')::jsonb
    )

-- name: lock_threads_of_assistant
-- Lock some of the heads of the threads whose last run was the assistant's, ordered by id.
select h.thread_id
from thread_heads h
where h.thread_id in (
    select t.thread_id from threads t
    where not t.hidden and t.metadata @> jsonb_build_object('assistant_id', %(assistant_id)s::text)
        and t.metadata @> %(granted)s::jsonb
    limit %(batch)s
)
order by h.thread_id
for no key update
