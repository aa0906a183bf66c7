-- What finished runs leave behind goes by its age.
--
-- What it guarantees:
--   * It costs what is removed, not what is kept: the oldest runs are found in the index runs_ended, which begins with
--     what was cleared already, and their events by the primary key.
--   * A run at work is not disturbed: heads are taken like a run takes them, but those that somebody holds are left for
--     later. The horizon of a log moves past ended runs only; checkpoints go only where no run is in flight.
--   * What a cursor may still ask for is there: first the horizon is committed, behind which cursors get a 410, then the
--     events before it are removed, in batches that hold no head. A sweep that was cut off is done again.

-- name: cutoff
-- When what is older than `age` was made, on the clock that runs end by.
select clock_timestamp() - %(age)s::interval

-- name: find_logs
-- Runs that ended before, the oldest first, whose events were not removed yet.
(
    select run_id, thread_id from runs where cleared = 0 and ended_at < %(before)s order by ended_at limit %(batch)s
) union all (
    select run_id, thread_id from runs where cleared = 1 and ended_at < %(before)s order by ended_at limit %(batch)s
)

-- name: find_checkpoints
-- Runs that ended before, the oldest first, whose checkpoints were not thinned out yet, on threads that rest.
(
    select r.run_id, r.thread_id
    from runs r
    join thread_heads h on h.thread_id = r.thread_id and h.inflight = 0
    where r.cleared = 0 and r.ended_at < %(before)s
    order by r.ended_at
    limit %(batch)s
) union all (
    select r.run_id, r.thread_id
    from runs r
    join thread_heads h on h.thread_id = r.thread_id and h.inflight = 0
    where r.cleared = 2 and r.ended_at < %(before)s
    order by r.ended_at
    limit %(batch)s
)

-- name: find_runs
-- Runs that ended before, the oldest first, whose events were removed.
(
    select run_id, thread_id from runs where cleared = 2 and ended_at < %(before)s order by ended_at limit %(batch)s
) union all (
    select run_id, thread_id from runs where cleared = 3 and ended_at < %(before)s order by ended_at limit %(batch)s
)

-- name: take_heads
-- The first statement of each step: the heads of these threads that nobody holds, ordered by id.
select thread_id, inflight from thread_heads
where thread_id = any(%(thread_ids)s::uuid[])
order by thread_id
for no key update skip locked

-- name: move_horizon
-- Behind take_heads. The log begins behind the last run that ended before, but not behind where a younger one was
-- accepted. Whoever writes goes on: what a run needs of its own is not touched, so its fence stays.
with horizon as (
    select n.thread_id, least(o.seq, y.seq) as seq
    from unnest(%(thread_ids)s::uuid[]) as n (thread_id)
    cross join lateral (
        select max(end_seq) as seq from runs where thread_id = n.thread_id and ended_at < %(before)s
    ) o
    cross join lateral (
        select min(start_seq) as seq from runs
        where thread_id = n.thread_id and (ended_at is null or ended_at >= %(before)s)
    ) y
)
update thread_heads h set trimmed_seq = z.seq
from horizon z
where h.thread_id = z.thread_id and z.seq > h.trimmed_seq

-- name: delete_events
-- Needs no head: nobody reads before the horizon, and nobody writes there. Answers how many rows, events and bytes
-- went. What is locked stays at its place, so that no row is looked up twice.
with garbage as materialized (
    select e.place
    from thread_heads h
    cross join lateral (
        select ctid as place from run_events
        where thread_id = h.thread_id and last_seq <= h.trimmed_seq
        order by last_seq
        limit %(batch)s
        for update skip locked
    ) e
    where h.thread_id = any(%(thread_ids)s::uuid[])
    limit %(batch)s
), gone as (
    delete from run_events e using garbage g
    where e.ctid = g.place
    returning e.last_seq - e.first_seq + 1 as events, octet_length(e.payload) as bytes
)
select count(*), coalesce(sum(events), 0)::bigint, coalesce(sum(bytes), 0)::bigint from gone

-- name: mark_logs
-- Their events are gone; a run of whose thread another sweep holds some still is left for later.
with done as materialized (
    select r.run_id
    from runs r
    join thread_heads h on h.thread_id = r.thread_id
    where r.run_id = any(%(run_ids)s::uuid[]) and not exists (
        select from run_events e where e.thread_id = r.thread_id and e.last_seq <= h.trimmed_seq
    )
    order by r.run_id
    for no key update of r skip locked
)
update runs r set cleared = r.cleared | 2 from done d where r.run_id = d.run_id

-- name: mark_checkpoints
-- Behind take_heads, when nothing was left to thin out.
with done as materialized (
    select run_id from runs where run_id = any(%(run_ids)s::uuid[]) order by run_id for no key update skip locked
)
update runs r set cleared = r.cleared | 1 from done d where r.run_id = d.run_id

-- name: raise_epoch
-- Behind take_heads: nobody writes on as if nothing had happened.
update thread_heads set epoch = epoch + 1 where thread_id = any(%(thread_ids)s::uuid[])

-- name: delete_runs
-- Behind take_heads: the rows of ended runs, as if their client had deleted them.
delete from runs where run_id = any(%(run_ids)s::uuid[]) and ended_at is not null
