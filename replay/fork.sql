-- A fork: a thread of its own that begins as a copy of another one up to a checkpoint. The source is only read, as
-- of one moment, so that a run may be at work on it; nothing here locks a row of it.

-- name: source
-- What the fork takes over from the thread itself, and whether a run is in flight on it.
select t.metadata, t.config, t.status, t."values"::text, t.interrupts::text, t.error::text, h.inflight
from threads t
join thread_heads h on h.thread_id = t.thread_id
where t.thread_id = %(source)s

-- name: path
-- The checkpoint and its ancestors, newest first, and of each how many successors it has, with their origins; the
-- last column says whether one of these is a step of a run, so that something was left to do.
with recursive path as (
    select c.checkpoint_id, c.parent_checkpoint_id, 1 as depth
    from checkpoints c
    where c.thread_id = %(source)s::uuid::text and c.checkpoint_ns = '' and c.checkpoint_id = %(checkpoint_id)s
    union all
    select c.checkpoint_id, c.parent_checkpoint_id, p.depth + 1
    from path p
    join checkpoints c on c.thread_id = %(source)s::uuid::text and c.checkpoint_ns = ''
        and c.checkpoint_id = p.parent_checkpoint_id
)
select p.checkpoint_id, count(s.checkpoint_id) as successors,
    coalesce(bool_or(s.metadata ->> 'source' = 'loop'), false) as goes_on
from path p
left join checkpoints s on s.thread_id = %(source)s::uuid::text and s.checkpoint_ns = ''
    and s.parent_checkpoint_id = p.checkpoint_id
group by p.checkpoint_id, p.depth
order by p.depth

-- name: create_thread
-- The fork's head and row. It has no log yet: its runs are still to come.
with head as (
    insert into thread_heads (thread_id, has_checkpoint) values (%(target)s, true) returning thread_id
)
insert into threads (thread_id) select thread_id from head

-- name: settle_thread
-- What the fork says of itself once everything is copied.
update threads
set metadata = %(metadata)s::jsonb, config = %(config)s::json, status = %(status)s, "values" = %(values)s::json,
    interrupts = %(interrupts)s::json, error = %(error)s::json
where thread_id = %(target)s

-- name: copy_root
-- The checkpoints of the path. What they say about their thread becomes true of the fork; the runs that made them
-- stay named, for they did make them.
insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
select %(target)s::uuid::text, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
    case when metadata ? 'thread_id'
        then jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::uuid::text)) else metadata end
from checkpoints
where thread_id = %(source)s::uuid::text and checkpoint_ns = '' and checkpoint_id = any(%(path)s::text[])

-- name: copy_subgraphs
-- The checkpoints that subgraphs made on the way: behind a checkpoint of the path and before the next one on it.
-- What was made behind the last one belongs to it only where the thread was not gone on from, or while its question
-- was open: then up to the checkpoint that asked.
with stretch as (
    select id as checkpoint_id, next
    from unnest(%(path)s::text[], %(next)s::text[]) as p (id, next)
)
insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
select %(target)s::uuid::text, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint,
    case when c.metadata ? 'thread_id'
        then jsonb_set(c.metadata, '{thread_id}', to_jsonb(%(target)s::uuid::text)) else c.metadata end
from checkpoints c
join stretch s on c.metadata -> 'parents' ->> '' = s.checkpoint_id
where c.thread_id = %(source)s::uuid::text and c.checkpoint_ns <> '' and c.checkpoint_id > s.checkpoint_id
    and case
        when s.next is not null then c.checkpoint_id < s.next
        when %(is_tip)s then true
        else c.checkpoint_id <= (
            select min(w.checkpoint_id) from checkpoint_writes w
            where w.thread_id = c.thread_id and w.checkpoint_ns = c.checkpoint_ns and w.channel = '__interrupt__'
                and w.checkpoint_id > s.checkpoint_id
        )
    end

-- name: copy_blobs
-- The values that the copied checkpoints refer to.
insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
select distinct on (b.checkpoint_ns, b.channel, b.version)
    %(target)s::uuid::text, b.checkpoint_ns, b.channel, b.version, b.type, b.blob
from checkpoints c
cross join lateral jsonb_each_text(c.checkpoint -> 'channel_versions') v
join checkpoint_blobs b on b.thread_id = %(source)s::uuid::text and b.checkpoint_ns = c.checkpoint_ns
    and b.channel = v.key and b.version = v.value
where c.thread_id = %(target)s::uuid::text

-- name: copy_writes
-- The pending writes of the copied checkpoints. A checkpoint that was gone on from, and from which the fork is to
-- go on anew (`ends`: the last of the path, the last of each subgraph), keeps what it had when its question was
-- open: the question, and the results of the tasks beside the one that asked. Without a question it keeps nothing.
with copied as (
    select c.checkpoint_ns, c.checkpoint_id,
        not %(is_tip)s and (
            (c.checkpoint_ns = '' and c.checkpoint_id = %(checkpoint_id)s)
            or c.metadata -> 'parents' ->> '' = %(checkpoint_id)s and not exists (
                select from checkpoints l
                where l.thread_id = c.thread_id and l.checkpoint_ns = c.checkpoint_ns
                    and l.checkpoint_id > c.checkpoint_id
            )
        ) as ends
    from checkpoints c
    where c.thread_id = %(target)s::uuid::text
), asking as (
    select distinct w.checkpoint_ns, w.checkpoint_id, w.task_id
    from checkpoint_writes w
    join copied c on c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id and c.ends
    where w.thread_id = %(source)s::uuid::text and w.channel = '__interrupt__'
)
insert into checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
select %(target)s::uuid::text, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.idx, w.channel, w.type,
    w.blob
from checkpoint_writes w
join copied c on c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id
where w.thread_id = %(source)s::uuid::text
    and (
        not c.ends
        or w.channel = '__interrupt__'
        or (
            w.task_id <> '00000000-0000-0000-0000-000000000000'
            and exists (
                select from asking a where a.checkpoint_ns = w.checkpoint_ns and a.checkpoint_id = w.checkpoint_id
            )
            and not exists (
                select from asking a
                where a.checkpoint_ns = w.checkpoint_ns and a.checkpoint_id = w.checkpoint_id
                    and a.task_id = w.task_id
            )
        )
    )

-- name: questions
-- The open questions of the fork: what the checkpoint's tasks ask.
select task_id, idx, type, blob from checkpoint_writes
where thread_id = %(target)s::uuid::text and checkpoint_ns = '' and checkpoint_id = %(checkpoint_id)s
    and channel = '__interrupt__'
order by task_path, task_id

-- name: checkpoint
-- The fork's last checkpoint, to be edited.
select checkpoint from checkpoints
where thread_id = %(target)s::uuid::text and checkpoint_ns = '' and checkpoint_id = %(checkpoint_id)s

-- name: blob
-- One value as it is stored.
select type, blob from checkpoint_blobs
where thread_id = %(target)s::uuid::text and checkpoint_ns = '' and channel = %(channel)s and version = %(version)s

-- name: store_blob
-- One value, under a version that no checkpoint refers to yet.
insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
values (%(target)s::uuid::text, '', %(channel)s, %(version)s, %(type)s, %(blob)s)

-- name: store_checkpoint
-- The fork's last checkpoint as it was edited.
update checkpoints set checkpoint = %(checkpoint)s::jsonb
where thread_id = %(target)s::uuid::text and checkpoint_ns = '' and checkpoint_id = %(checkpoint_id)s
