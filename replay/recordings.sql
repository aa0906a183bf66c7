-- Where a run lies in the log. Nothing here waits for a lock or takes one.

-- name: find_run
-- A run's place by its row; trimmed_seq says where the thread's log begins now.
select r.thread_id, r.start_seq, r.end_seq, h.trimmed_seq
from runs r
join thread_heads h on h.thread_id = r.thread_id
where r.run_id = %(run_id)s and (%(thread_id)s::uuid is null or r.thread_id = %(thread_id)s::uuid)

-- name: find_in_log
-- A run's place by its events: those of a run that was rolled back or deleted stay.
select e.thread_id, e.first_seq, e.contents, e.payload,
    (select max(last_seq) from run_events l where l.thread_id = e.thread_id and l.run_id = e.run_id) as end_seq
from run_events e
where e.thread_id = %(thread_id)s and e.run_id = %(run_id)s
order by e.last_seq
limit 1

-- name: trimmed_seq
-- Where the log of a thread begins; no row: the thread is gone.
select trimmed_seq from thread_heads where thread_id = %(thread_id)s
