-- The journal of effects: what nodes did to the world, and what came of it.
--
-- What it guarantees:
--   * A row is written by the run that the thread's head names, at the epoch it names, or not at all. The head is
--     locked to the commit, so who takes a run over reads everything that its former owner has written.
--   * A result that is there is never replaced.

-- name: read
-- One row when the thread is the run's; with the result of the effect, if it is finished.
select e.type, e.blob
from thread_heads h
left join effects e on e.thread_id = h.thread_id and e.task_id = %(task_id)s and e.name = %(name)s
where h.thread_id = %(thread_id)s and h.run_id = %(run_id)s and h.epoch = %(epoch)s

-- name: write
-- One row when the thread is the run's. Said twice, because an answer got lost, it changes nothing.
with head as materialized (
    select thread_id from thread_heads
    where thread_id = %(thread_id)s and run_id = %(run_id)s and epoch = %(epoch)s
    for no key update
), written as (
    insert into effects (thread_id, task_id, name, checkpoint_ns, checkpoint_id, run_id, type, blob)
    select thread_id, %(task_id)s, %(name)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(run_id)s, %(type)s, %(blob)s
    from head
    on conflict do nothing
)
select true from head

-- name: forget_run
-- Under the head's lock: what a run that is rolled back has carried out may be done again.
delete from effects where thread_id = %(thread_id)s and run_id = %(run_id)s

-- name: forget_pruned
-- Behind the removal of checkpoints, under the heads' locks: no task starts from these any more.
delete from effects e
where e.thread_id = any(%(thread_ids)s::uuid[]) and not exists (
    select from checkpoints c
    where c.thread_id = e.thread_id::text and c.checkpoint_ns = e.checkpoint_ns and c.checkpoint_id = e.checkpoint_id
)
