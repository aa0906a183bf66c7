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
