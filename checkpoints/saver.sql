-- What our saver adds to the official one's statements. LangGraph's tables keep their shape.

-- name: latest_checkpoint_id
-- The greatest checkpoint id of a thread's root namespace: new ids must be greater.
select max(checkpoint_id) from checkpoints where thread_id = %(thread_id)s and checkpoint_ns = ''

-- name: select_checkpoints
-- The official saver's select, to which it adds a condition; but text becomes bytes as it stands. The official cast
-- reads it as PostgreSQL's notation for bytes, so that one backslash in a name makes a thread unreadable.
select
    thread_id, checkpoint, checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata,
    (
        select array_agg(array[convert_to(b.channel, 'UTF8'), convert_to(b.type, 'UTF8'), b.blob])
        from jsonb_each_text(checkpoint -> 'channel_versions') v
        join checkpoint_blobs b
            on b.thread_id = checkpoints.thread_id and b.checkpoint_ns = checkpoints.checkpoint_ns
            and b.channel = v.key and b.version = v.value
    ) as channel_values,
    (
        select array_agg(array[
            convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
            convert_to(w.task_path, 'UTF8'), convert_to(w.idx::text, 'UTF8')
        ])
        from checkpoint_writes w
        where w.thread_id = checkpoints.thread_id and w.checkpoint_ns = checkpoints.checkpoint_ns
            and w.checkpoint_id = checkpoints.checkpoint_id
    ) as pending_writes
from checkpoints

-- name: copy_checkpoints
-- Every checkpoint of every namespace; a key that is there already is left alone.
insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
select %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
from checkpoints where thread_id = %(source)s
on conflict do nothing

-- name: copy_blobs
-- The values the copied checkpoints refer to.
insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
select %(target)s, checkpoint_ns, channel, version, type, blob
from checkpoint_blobs where thread_id = %(source)s
on conflict do nothing

-- name: copy_writes
-- The pending writes of the copied checkpoints.
insert into checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
select %(target)s, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
from checkpoint_writes where thread_id = %(source)s
on conflict do nothing

-- name: lock_runs_checkpoints
-- The checkpoints that name one of the runs, locked; with thread_id null in every thread.
select thread_id, checkpoint_ns, checkpoint_id
from checkpoints
where metadata ->> 'run_id' = any(%(run_ids)s::text[])
    and (%(thread_id)s::text is null or thread_id = %(thread_id)s::text)
order by thread_id, checkpoint_ns, checkpoint_id
for update

-- name: delete_writes
-- The pending writes stored on the given checkpoints.
delete from checkpoint_writes w
using unnest(%(thread_id)s::text[], %(ns)s::text[], %(id)s::text[]) as gone (thread_id, ns, id)
where w.thread_id = gone.thread_id and w.checkpoint_ns = gone.ns and w.checkpoint_id = gone.id

-- name: delete_checkpoints
-- The given checkpoints themselves.
delete from checkpoints c
using unnest(%(thread_id)s::text[], %(ns)s::text[], %(id)s::text[]) as gone (thread_id, ns, id)
where c.thread_id = gone.thread_id and c.checkpoint_ns = gone.ns and c.checkpoint_id = gone.id

-- name: delete_orphaned_blobs
-- Values of the given threads that no remaining checkpoint refers to.
delete from checkpoint_blobs b
where b.thread_id = any(%(thread_id)s::text[])
    and (b.thread_id, b.checkpoint_ns, b.channel, b.version) not in (
        select c.thread_id, c.checkpoint_ns, v.key, v.value
        from checkpoints c, jsonb_each_text(c.checkpoint -> 'channel_versions') v
        where c.thread_id = any(%(thread_id)s::text[])
    )
