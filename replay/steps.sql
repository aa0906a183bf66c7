-- Checkpoints as an analyst reads them, in LangGraph's own tables. Reads only, and nothing of the graph is needed.

-- name: thread_exists
-- Whether the thread is there at all.
select from threads where thread_id = %(thread_id)s

-- name: steps
-- The newest `limit` checkpoints of a thread (null: all), oldest first, each with its values as they are stored
-- and with the tasks that led to it, which are those that wrote to its parent. With `subgraphs` those of all
-- namespaces. `checkpoint_id` null: any.
with chosen as materialized (
    select c.checkpoint_ns, c.checkpoint_id
    from checkpoints c
    where c.thread_id = %(thread_id)s::uuid::text
        and (%(subgraphs)s or c.checkpoint_ns = %(checkpoint_ns)s)
        and (%(checkpoint_id)s::text is null or c.checkpoint_id = %(checkpoint_id)s::text)
    order by c.checkpoint_id desc
    limit %(limit)s
)
select c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint ->> 'ts' as created_at,
    c.metadata, c.checkpoint -> 'channel_values' as inline, c.checkpoint -> 'sealed_values' as sealed_values,
    (
        select array_agg(b.channel order by b.channel) from checkpoint_blobs b
        join jsonb_each_text(c.checkpoint -> 'channel_versions') v on v.key = b.channel and v.value = b.version
        where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
    ) as channels,
    (
        select array_agg(b.version order by b.channel) from checkpoint_blobs b
        join jsonb_each_text(c.checkpoint -> 'channel_versions') v on v.key = b.channel and v.value = b.version
        where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
    ) as versions,
    (
        select array_agg(b.type order by b.channel) from checkpoint_blobs b
        join jsonb_each_text(c.checkpoint -> 'channel_versions') v on v.key = b.channel and v.value = b.version
        where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
    ) as types,
    (
        select array_agg(b.blob order by b.channel) from checkpoint_blobs b
        join jsonb_each_text(c.checkpoint -> 'channel_versions') v on v.key = b.channel and v.value = b.version
        where b.thread_id = c.thread_id and b.checkpoint_ns = c.checkpoint_ns
    ) as blobs,
    (
        select json_agg(distinct jsonb_build_array(w.task_id, w.task_path)) from checkpoint_writes w
        where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns
            and w.checkpoint_id = c.parent_checkpoint_id
    ) as tasks,
    (
        select array_agg(w.blob order by w.task_path, w.task_id) from checkpoint_writes w
        where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns
            and w.checkpoint_id = c.checkpoint_id and w.channel = '__interrupt__' and w.type like 'msgpack%%'
    ) as questions,
    (
        select json_agg(json_build_array(w.task_id, w.idx, w.type) order by w.task_path, w.task_id)
        from checkpoint_writes w
        where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns
            and w.checkpoint_id = c.checkpoint_id and w.channel = '__interrupt__' and w.type like 'msgpack%%'
    ) as asking
from chosen
join checkpoints c on c.thread_id = %(thread_id)s::uuid::text
    and c.checkpoint_ns = chosen.checkpoint_ns and c.checkpoint_id = chosen.checkpoint_id
order by c.checkpoint_id

-- name: latest
-- The id of a thread's latest checkpoint; null without any.
select max(checkpoint_id) from checkpoints
where thread_id = %(thread_id)s::uuid::text and checkpoint_ns = %(checkpoint_ns)s

-- name: namespaces
-- Where in a thread a checkpoint of this id lies.
select checkpoint_ns from checkpoints
where thread_id = %(thread_id)s::uuid::text and checkpoint_id = %(checkpoint_id)s
order by checkpoint_ns
