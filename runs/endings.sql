-- What ending a run from outside its execution asks the database.

-- name: read_values
-- The thread's values as the last run left them.
select "values"::text from threads where thread_id = %(thread_id)s

-- name: read_cancel
-- The cancel request that a finish met.
select cancel from thread_heads where thread_id = %(thread_id)s and run_id = %(run_id)s

-- name: has_checkpoint
-- Whether the thread's latest checkpoint is this run's, so that an earlier attempt got that far.
select c.metadata ->> 'run_id' = %(run_id)s::text
from checkpoints c
where c.thread_id = %(thread_id)s::text and c.checkpoint_ns = ''
order by c.checkpoint_id desc
limit 1

-- name: still_has_checkpoint
-- Whether any checkpoint is left after a rollback.
update thread_heads h
set has_checkpoint = exists (select from checkpoints c where c.thread_id = h.thread_id::text)
where h.thread_id = %(thread_id)s
returning has_checkpoint

-- name: drop_base_writes
-- First half of giving earlier runs' checkpoints their pending writes back: remove what is there now.
delete from checkpoint_writes w
using run_bases b
where b.thread_id = %(thread_id)s and b.run_id = %(run_id)s
    and w.thread_id = b.thread_id::text and w.checkpoint_ns = b.checkpoint_ns and w.checkpoint_id = b.checkpoint_id

-- name: restore_base_writes
-- Second half: put back what was there before the run.
with bases as (
    delete from run_bases where thread_id = %(thread_id)s and run_id = %(run_id)s
), kept as (
    delete from run_base_writes where thread_id = %(thread_id)s and run_id = %(run_id)s returning *
)
insert into checkpoint_writes
    (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
select thread_id::text, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob from kept

-- name: forget_bases
-- What was kept aside for a rollback of runs that are final.
with final as (
    delete from run_bases b using runs r
    where r.run_id = b.run_id and r.status not in ('pending', 'running')
    returning b.thread_id, b.run_id
)
delete from run_base_writes w using (select distinct thread_id, run_id from final) f
where w.thread_id = f.thread_id and w.run_id = f.run_id
