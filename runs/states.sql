-- A thread's state as it is changed from outside a run. The writer takes the thread's head like a run does, so
-- that no run writes meanwhile, and checkpoint, event and thread are one commit.

-- name: get_thread
-- What reading a state takes: the graph that knows its channels, and the last run's config.
select thread_id, coalesce(metadata ->> 'graph_id', '') as graph_id, config
from threads
where thread_id = %(thread_id)s

-- name: lock_head
-- The first statement of an update. Whether runs are in flight is decided on the row it locks. As in queue.sql, but
-- reducers and routing functions may take a minute of their own.
select inflight, epoch from thread_heads
where thread_id = %(thread_id)s and set_config('idle_in_transaction_session_timeout', '90s', true) is not null
for no key update

-- name: latest_checkpoint_id
-- What new checkpoint ids must stay above.
select checkpoint_id from checkpoints
where thread_id = %(thread_id)s::uuid::text and checkpoint_ns = %(checkpoint_ns)s
order by checkpoint_id desc
limit 1

-- name: checkpoint_exists
-- Answers a row if the checkpoint is there: LangGraph itself would start from nothing.
select from checkpoints
where thread_id = %(thread_id)s::uuid::text and checkpoint_ns = %(checkpoint_ns)s
    and checkpoint_id = %(checkpoint_id)s

-- name: record_update
-- Run behind lock_head. The higher epoch refuses whatever a run that lost this thread may still try to write.
with head as (
    update thread_heads
    set epoch = epoch + 1, last_seq = last_seq + 1, has_checkpoint = true
    where thread_id = %(thread_id)s
    returning thread_id, last_seq
), event as (
    insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
    select thread_id, last_seq, last_seq, %(run_id)s, %(contents)s::json, %(payload)s from head
)
update threads
set status = %(status)s, "values" = %(values)s::json, interrupts = %(interrupts)s::json, error = null,
    updated_at = clock_timestamp(), state_updated_at = clock_timestamp()
where thread_id = %(thread_id)s
