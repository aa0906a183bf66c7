-- Reading the event log. Rows of a thread follow each other without a hole, because their numbers are made
-- under the head's lock, which is held to the commit.

-- name: head
-- Where a thread's log begins and ends; no row: the thread is gone.
select trimmed_seq, last_seq from thread_heads where thread_id = %(thread_id)s

-- name: read_tails
-- For every thread asked for, up to `page` rows behind its cursor, and no more behind `page_bytes` of payload; and where
-- its log begins now, which is null for a thread that is gone.
select s.ord, h.trimmed_seq, e.first_seq, e.last_seq, e.run_id, e.contents, e.payload
from unnest(%(thread_id)b::uuid[], %(cursor)b::bigint[]) with ordinality as s (thread_id, cursor, ord)
left join thread_heads h on h.thread_id = s.thread_id
left join lateral (
    select * from (
        select r.first_seq, r.last_seq, r.run_id, r.contents, r.payload,
            sum(octet_length(r.payload)) over (order by r.last_seq) - octet_length(r.payload) as bytes_before
        from run_events r
        where r.thread_id = s.thread_id and r.last_seq > s.cursor and h.thread_id is not null
        order by r.last_seq
        limit %(page)s
    ) page
    where page.bytes_before < %(page_bytes)s
) e on true
order by s.ord, e.last_seq

-- name: end_of_run
-- The row that holds the run's end event.
select r.end_seq, e.first_seq, e.last_seq, e.run_id, e.contents, e.payload
from runs r
join lateral (
    select * from run_events e
    where e.thread_id = r.thread_id and e.last_seq >= r.end_seq
    order by e.last_seq limit 1
) e on true
where r.run_id = %(run_id)s and r.thread_id = %(thread_id)s

-- name: of_run
-- Everything one run has logged, in order.
select first_seq, last_seq, run_id, contents, payload
from run_events
where thread_id = %(thread_id)s and last_seq > %(after)s and run_id = %(run_id)s
order by last_seq
