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
-- The bytes that a thread's rows take as they are stored, compressed where they are; no row: there is no such thread.
-- What PostgreSQL adds to a row (24 to 32 bytes) and to an index is not counted. A value counts once for each of its
-- versions; those that the checkpoint itself holds have their bytes there.
with one as materialized (
    select h.thread_id as id, h.thread_id::text as thread_id from thread_heads h where h.thread_id = %(thread_id)s
), version as (
    select b.channel, b.checkpoint_ns, b.version, pg_column_size(b.thread_id) + pg_column_size(b.checkpoint_ns)
        + pg_column_size(b.channel) + pg_column_size(b.version) + pg_column_size(b.type)
        + coalesce(pg_column_size(b.blob), 0) as bytes
    from one
    join checkpoint_blobs b using (thread_id)
    union all
    select distinct v.key, c.checkpoint_ns, v.value, 0
    from one
    join checkpoints c using (thread_id)
    cross join lateral jsonb_each_text(c.checkpoint -> 'channel_versions') v
    where not exists (
        select from checkpoint_blobs b
        where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
            and b.channel = v.key and b.version = v.value
    )
), channel as (
    select channel, count(*) as versions, sum(bytes) as bytes from version group by channel
), checkpoint as (
    select count(*) as count, sum(
        pg_column_size(c.thread_id) + pg_column_size(c.checkpoint_ns) + pg_column_size(c.checkpoint_id)
        + coalesce(pg_column_size(c.parent_checkpoint_id), 0) + coalesce(pg_column_size(c.type), 0)
        + pg_column_size(c.checkpoint) + pg_column_size(c.metadata)
    ) as bytes
    from one
    join checkpoints c using (thread_id)
), write as (
    select count(*) as count, sum(
        pg_column_size(w.thread_id) + pg_column_size(w.checkpoint_ns) + pg_column_size(w.checkpoint_id)
        + pg_column_size(w.task_id) + pg_column_size(w.task_path) + pg_column_size(w.idx) + pg_column_size(w.channel)
        + coalesce(pg_column_size(w.type), 0) + pg_column_size(w.blob)
    ) as bytes
    from one
    join checkpoint_writes w using (thread_id)
), event as (
    select sum(e.last_seq - e.first_seq + 1)::bigint as count, sum(
        pg_column_size(e.thread_id) + pg_column_size(e.first_seq) + pg_column_size(e.last_seq)
        + pg_column_size(e.run_id) + pg_column_size(e.contents) + pg_column_size(e.payload)
    ) as bytes
    from one
    join run_events e on e.thread_id = one.id
), run as (
    select count(*) as count, sum(
        pg_column_size(r.run_id) + pg_column_size(r.thread_id) + pg_column_size(r.assistant_id)
        + pg_column_size(r.graph_id) + pg_column_size(r.status) + pg_column_size(r.metadata)
        + pg_column_size(r.kwargs) + pg_column_size(r.multitask_strategy) + pg_column_size(r.attempt)
        + pg_column_size(r.failures) + pg_column_size(r.start_seq) + pg_column_size(r.cleared)
        + pg_column_size(r.due_at) + pg_column_size(r.created_at) + pg_column_size(r.updated_at)
        + coalesce(pg_column_size(r.error), 0) + coalesce(pg_column_size(r.process_id), 0)
        + coalesce(pg_column_size(r.end_seq), 0) + coalesce(pg_column_size(r.started_at), 0)
        + coalesce(pg_column_size(r.ended_at), 0) + coalesce(pg_column_size(r.webhook), 0)
    ) as bytes
    from one
    join runs r on r.thread_id = one.id
), base as (
    select count(*) as count, sum(bytes) as bytes
    from (
        select
        pg_column_size(b.thread_id) + pg_column_size(b.run_id) + pg_column_size(b.checkpoint_ns)
        + pg_column_size(b.checkpoint_id) as bytes
        from one
        join run_bases b on b.thread_id = one.id
        union all
        select
        pg_column_size(w.thread_id) + pg_column_size(w.run_id) + pg_column_size(w.checkpoint_ns)
        + pg_column_size(w.checkpoint_id) + pg_column_size(w.task_id) + pg_column_size(w.task_path)
        + pg_column_size(w.idx) + pg_column_size(w.channel) + pg_column_size(w.blob)
        + coalesce(pg_column_size(w.type), 0)
        from one
        join run_base_writes w on w.thread_id = one.id
    ) b
), effect as (
    select count(*) as count, sum(
        pg_column_size(e.thread_id) + pg_column_size(e.task_id) + pg_column_size(e.name)
        + pg_column_size(e.checkpoint_ns) + pg_column_size(e.checkpoint_id) + pg_column_size(e.run_id)
        + pg_column_size(e.type) + pg_column_size(e.blob) + pg_column_size(e.created_at)
    ) as bytes
    from one
    join effects e on e.thread_id = one.id
), thread as (
    select sum(
        pg_column_size(h.thread_id) + pg_column_size(h.last_seq) + pg_column_size(h.epoch)
        + pg_column_size(h.inflight) + pg_column_size(h.trimmed_seq) + pg_column_size(h.has_checkpoint)
        + coalesce(pg_column_size(h.run_id), 0) + coalesce(pg_column_size(h.cancel), 0)
        + coalesce(
        pg_column_size(t.thread_id) + pg_column_size(t.metadata) + pg_column_size(t.config)
        + pg_column_size(t.status) + pg_column_size(t.interrupts) + pg_column_size(t.hidden)
        + pg_column_size(t.created_at) + pg_column_size(t.updated_at) + pg_column_size(t.state_updated_at)
        + coalesce(pg_column_size(t."values"), 0) + coalesce(pg_column_size(t.error), 0)
        + coalesce(pg_column_size(t.expires_at), 0) + coalesce(pg_column_size(t.ttl_minutes), 0)
        + coalesce(pg_column_size(t.ttl_strategy), 0)
        , 0)
    ) as bytes
    from one
    join thread_heads h on h.thread_id = one.id
    left join threads t on t.thread_id = one.id
)
select
    (select json_build_object('count', count, 'bytes', coalesce(bytes, 0)) from checkpoint) as checkpoints,
    (
        select json_build_object(
            'count', coalesce(sum(versions), 0), 'bytes', coalesce(sum(bytes), 0), 'by_channel',
            coalesce(json_object_agg(channel, json_build_object('versions', versions, 'bytes', bytes)), '{}')
        )
        from channel
    ) as channel_values,
    (select json_build_object('count', count, 'bytes', coalesce(bytes, 0)) from write) as pending_writes,
    (select json_build_object('count', coalesce(count, 0), 'bytes', coalesce(bytes, 0)) from event) as events,
    (select json_build_object('count', count, 'bytes', coalesce(bytes, 0)) from run) as runs,
    (select json_build_object('count', count, 'bytes', coalesce(bytes, 0)) from base) as rollback_writes,
    (select json_build_object('count', count, 'bytes', coalesce(bytes, 0)) from effect) as effects,
    (select json_build_object('bytes', bytes) from thread) as thread
from one
