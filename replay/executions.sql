-- What the log says about nodes.

-- name: rows
-- The thread's log in order, behind number `after`.
select first_seq, last_seq, run_id, contents, payload
from run_events
where thread_id = %(thread_id)s and last_seq > %(after)s
order by last_seq
