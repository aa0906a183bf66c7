-- Which versions of graphs there are, and which living process executes which.

-- name: register
-- Versions that this process executes. A topology is described once, by whoever has it first.
with mine as materialized (
    select * from unnest(
        %(graph_ids)s::text[], %(topology_hashes)s::text[], %(code_hashes)s::text[], %(topologies)s::text[]
    ) as m (graph_id, topology_hash, code_hash, topology)
), described as (
    insert into graph_versions (graph_id, topology_hash, topology)
    select graph_id, topology_hash, topology::json from mine order by graph_id, topology_hash
    on conflict do nothing
)
insert into process_graphs (process_id, graph_id, topology_hash, code_hash)
select %(process_id)s, graph_id, topology_hash, code_hash from mine
on conflict do nothing

-- name: withdraw
-- The process takes no more runs.
delete from process_graphs where process_id = %(process_id)s

-- name: find
-- How a topology is shaped, whether it appeared after `mine`, and whether a living process other than this one
-- executes it; no row for a version that nobody ever registered. A process that was silent for a moment only counts as
-- living: to refuse a run is final, to wait costs seconds.
select v.topology, v.created_at > coalesce(m.created_at, 'infinity') as is_newer,
    exists (
        select from process_graphs g
        join processes p on p.process_id = g.process_id
        where g.graph_id = v.graph_id and g.topology_hash = v.topology_hash and g.process_id <> %(process_id)s
            and not p.gone and p.leased_until > clock_timestamp() - interval '30 seconds'
    ) as is_served
from graph_versions v
left join graph_versions m on m.graph_id = v.graph_id and m.topology_hash = %(mine)s
where v.graph_id = %(graph_id)s and v.topology_hash = %(topology_hash)s

-- name: start
-- The metadata of the checkpoint that a run created now would start from, as far as that is known: a thread with
-- runs in flight may move on before.
select c.metadata
from thread_heads h
cross join lateral (
    select metadata from checkpoints c
    where c.thread_id = h.thread_id::text and c.checkpoint_ns = ''
        and (%(checkpoint_id)s::text is null or c.checkpoint_id = %(checkpoint_id)s::text)
    order by c.checkpoint_id desc
    limit 1
) c
where h.thread_id = %(thread_id)s and h.inflight = 0
