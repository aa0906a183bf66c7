-- A thread as another one of its own: its state and past, without its runs and their events.

-- name: lock_source
-- The first statement: no run of the source writes until the copy is committed, and none waits for longer.
select inflight, has_checkpoint from thread_heads where thread_id = %(source)s for no key update

-- name: copy_thread
-- The copy's head and row. It has no log: its runs are still to come. Where a run is at work on the source, the
-- copy is a thread that was stopped where that run is now.
with head as (
    insert into thread_heads (thread_id, has_checkpoint) values (%(target)s, %(has_checkpoint)s) returning thread_id
)
insert into threads
    (thread_id, metadata, config, status, "values", interrupts, error, ttl_minutes, ttl_strategy, expires_at)
select head.thread_id, t.metadata || %(labels)s::jsonb, t.config, case when %(is_busy)s then 'interrupted' else t.status end,
    t."values", case when %(is_busy)s then '{}' else t.interrupts end,
    case when %(is_busy)s then null else t.error end, t.ttl_minutes, t.ttl_strategy,
    case when t.ttl_minutes >= 0 then clock_timestamp() + make_interval(secs => t.ttl_minutes * 60) end
from threads t, head
where t.thread_id = %(source)s

-- name: copy_checkpoints
-- Every checkpoint. What they say about their thread becomes true of the copy; the runs that made them stay named,
-- for they did make them.
insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
select %(target)s::uuid::text, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
    case when metadata ? 'thread_id'
        then jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::uuid::text)) else metadata end
from checkpoints
where thread_id = %(source)s::uuid::text

-- name: copy_blobs
-- The values that the checkpoints refer to.
insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
select %(target)s::uuid::text, checkpoint_ns, channel, version, type, blob
from checkpoint_blobs where thread_id = %(source)s::uuid::text

-- name: copy_writes
-- The pending writes, open questions among them.
insert into checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
select %(target)s::uuid::text, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
from checkpoint_writes where thread_id = %(source)s::uuid::text

-- name: measure
-- The bytes that a thread's checkpoints take as they are stored; no row: there is no such thread. A value counts
-- once for each of its versions, also where the checkpoint itself holds it.
with one as materialized (
    select h.thread_id::text as thread_id from thread_heads h where h.thread_id = %(thread_id)s
), version as (
    -- a version is empty where the channel had been read and cleared
    select distinct on (c.checkpoint_ns, v.key, v.value) v.key as channel,
        coalesce(octet_length((c.checkpoint -> 'channel_values' -> v.key)::text), octet_length(b.blob), 0) as bytes
    from one
    join checkpoints c using (thread_id)
    cross join lateral jsonb_each_text(c.checkpoint -> 'channel_versions') v
    left join checkpoint_blobs b on b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
        and b.channel = v.key and b.version = v.value
), channel as (
    select channel, count(*) as versions, sum(bytes) as bytes from version group by channel
)
select
    (select json_build_object('count', count(c.checkpoint_id),
        'bytes', coalesce(sum(pg_column_size(c.checkpoint) + pg_column_size(c.metadata)), 0))
        from checkpoints c where c.thread_id = one.thread_id) as checkpoints,
    (select json_build_object('count', coalesce(sum(versions), 0), 'bytes', coalesce(sum(bytes), 0),
        'by_channel', coalesce(json_object_agg(channel, json_build_object('versions', versions, 'bytes', bytes)),
            '{}')) from channel) as channel_values,
    (select json_build_object('count', count(w.task_id), 'bytes', coalesce(sum(octet_length(w.blob)), 0))
        from checkpoint_writes w where w.thread_id = one.thread_id) as pending_writes
from one
