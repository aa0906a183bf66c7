-- Threads that something is still to happen on, as they lie. Only read, page by page, so that no snapshot is held.

-- name: page
-- Behind `after`, in the order of their ids: threads with runs in flight, with a question, cut off, or failed; with the
-- checkpoint that each would go on from.
select t.thread_id, case when h.inflight > 0 then 'busy' else t.status end as status, h.inflight,
    coalesce(r.graph_id, c.metadata ->> 'graph_id', t.metadata ->> 'graph_id', '') as graph_id,
    c.checkpoint_id, c.metadata, c.checkpoint
from threads t
join thread_heads h on h.thread_id = t.thread_id
left join lateral (
    select checkpoint_id, metadata, checkpoint from checkpoints c
    where c.thread_id = t.thread_id::text and c.checkpoint_ns = ''
    order by c.checkpoint_id desc
    limit 1
) c on true
left join lateral (
    select graph_id from runs r
    where h.inflight > 0 and r.thread_id = t.thread_id and r.status in ('pending', 'running')
    order by r.created_at, r.run_id
    limit 1
) r on true
where (h.inflight > 0 or t.status <> 'idle') and (%(after)s::uuid is null or t.thread_id > %(after)s::uuid)
order by t.thread_id
limit %(limit)s

-- name: subgraphs
-- The latest checkpoints of subgraphs that were at work when that checkpoint was the latest.
select distinct on (checkpoint_ns) checkpoint_ns, checkpoint
from checkpoints
where thread_id = %(thread_id)s and checkpoint_ns <> '' and metadata -> 'parents' ->> '' = %(checkpoint_id)s
order by checkpoint_ns, checkpoint_id desc

-- name: values
-- The values of a checkpoint and what its tasks have left, up to a size each; larger ones come without their bytes.
select b.channel, b.type::text, case when octet_length(b.blob) <= %(largest)s then b.blob end as blob, b.version,
    null as task_id, null::integer as idx
from jsonb_each_text(%(versions)s::jsonb) v
join checkpoint_blobs b on b.thread_id = %(thread_id)s and b.checkpoint_ns = '' and b.channel = v.key
    and b.version = v.value
where b.blob is not null
union all
select w.channel, w.type::text, case when octet_length(w.blob) <= %(largest)s then w.blob end, null, w.task_id, w.idx
from checkpoint_writes w
where w.thread_id = %(thread_id)s and w.checkpoint_ns = '' and w.checkpoint_id = %(checkpoint_id)s

-- name: topologies_exist
-- A database of an earlier release has none.
select to_regclass('graph_versions') is not null

-- name: topology
-- How a version was shaped.
select topology from graph_versions where graph_id = %(graph_id)s and topology_hash = %(topology_hash)s
