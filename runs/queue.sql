-- Runs, from accepted to final.
--
-- What it guarantees:
--   * Accepted is kept: a run is a committed row with its input before anybody is told about it.
--   * One active run per thread, decided on the locked head row. Claiming takes threads (heads without an
--     active run, skipping locked ones), then each thread's earliest due pending run.
--   * A claim, a release and a reclaim raise the head's epoch: what a former owner still sends is refused.
--   * All heads of a statement are locked in one place, ordered by id, or skipped.
--   * A statement that had to wait sees fresh data only in the row it locked, so decisions are made on the
--     head's own columns, and updates of `runs` repeat the condition they rely on.

-- name: admit
-- Accept runs, and claim those whose thread is free and for which this process has room. Threads marked fresh
-- are created; others must exist. Answers one row per run asked for: not found, refused, or the run. On a thread that
-- has runs in flight only an `enqueue` is not refused; for those that supersede there is `place`.
with written as materialized (
    update writers set batch = %(batch)s::bigint, updated_at = clock_timestamp()
    where writer_id = %(writer_id)s and batch = %(batch)s::bigint - 1
        and set_config('lock_timeout', '1s', true) is not null
    returning batch
), asked as materialized (
    select a.*, jsonb_build_object('graph_id', a.graph_id, 'assistant_id', a.assistant_id) as origin
    from unnest(
        %(thread_id)b::uuid[], %(run_id)b::uuid[], %(assistant_id)b::uuid[], %(graph_id)b::text[],
        %(inherited)b::text[], %(metadata)b::text[], %(kwargs)b::text[], %(strategy)b::text[],
        %(delay)b::float8[], %(claim)b::boolean[], %(fresh)b::boolean[], %(hidden)b::boolean[], %(webhook)b::text[]
    ) with ordinality as a
        (thread_id, run_id, assistant_id, graph_id, inherited, metadata, kwargs, strategy, delay, claim, fresh,
        hidden, webhook, ord)
    where exists (select from written)
), locked as materialized (
    select h.thread_id, h.inflight
    from thread_heads h
    join asked a on a.thread_id = h.thread_id and not a.fresh
    order by h.thread_id
    for no key update of h
), decided as materialized (
    select a.*, a.claim and a.delay <= 0 and coalesce(l.inflight, 0) = 0 as claimed, clock_timestamp() as now
    from asked a
    left join locked l on l.thread_id = a.thread_id
    where a.fresh or (l.thread_id is not null and (a.strategy = 'enqueue' or l.inflight = 0))
), new_threads as (
    insert into threads (thread_id, metadata, hidden)
    select thread_id, origin, hidden from decided where fresh
), new_heads as (
    insert into thread_heads (thread_id, last_seq, run_id, epoch, inflight)
    select thread_id, claimed::integer, case when claimed then run_id end, claimed::integer, 1
    from decided where fresh
    returning thread_id, last_seq, epoch, has_checkpoint
), moved_heads as (
    update thread_heads h
    set inflight = h.inflight + 1,
        last_seq = h.last_seq + d.claimed::integer,
        epoch = h.epoch + d.claimed::integer,
        run_id = case when d.claimed then d.run_id else h.run_id end,
        cancel = case when d.claimed then null else h.cancel end
    from decided d
    where h.thread_id = d.thread_id and not d.fresh
    returning h.thread_id, h.last_seq, h.epoch, h.has_checkpoint
), placed as (
    select * from new_heads union all select * from moved_heads
), named_threads as (
    update threads t set metadata = t.metadata || d.origin
    from decided d
    where t.thread_id = d.thread_id and not d.fresh and not t.metadata @> d.origin
), inserted as (
    insert into runs
        (run_id, thread_id, assistant_id, graph_id, status, metadata, kwargs, multitask_strategy, attempt,
        process_id, start_seq, due_at, created_at, started_at, webhook)
    select d.run_id, d.thread_id, d.assistant_id, d.graph_id,
        case when d.claimed then 'running' else 'pending' end,
        d.inherited::jsonb || coalesce(t.metadata, '{}') || d.metadata::jsonb || d.origin,
        d.kwargs::json, d.strategy, d.claimed::integer,
        case when d.claimed then %(process_id)s::uuid end,
        p.last_seq - d.claimed::integer,
        d.now + make_interval(secs => d.delay), d.now, case when d.claimed then d.now end, d.webhook
    from decided d
    join placed p on p.thread_id = d.thread_id
    left join threads t on t.thread_id = d.thread_id
    returning *
), metadata_events as (
    insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
    select p.thread_id, p.last_seq, p.last_seq, d.run_id,
        json_build_array(json_build_array('metadata', octet_length(m.payload),
            (extract(epoch from clock_timestamp()) * 1000000)::bigint)),
        m.payload
    from decided d
    join placed p on p.thread_id = d.thread_id
    cross join lateral (
        select convert_to(format('{"run_id":"%%s","attempt":1}', d.run_id), 'UTF8') as payload
    ) m
    where d.claimed
)
select a.ord, a.fresh or l.thread_id is not null as found, i.run_id is not null as accepted,
    p.last_seq, p.epoch, p.has_checkpoint, i.status, i.metadata, i.attempt, i.start_seq, i.created_at, i.updated_at,
    i.started_at
from asked a
left join locked l on l.thread_id = a.thread_id
left join inserted i on i.run_id = a.run_id
left join placed p on p.thread_id = a.thread_id and i.run_id is not null

-- name: open_thread
-- A thread that its caller has just minted, before a run is placed on it.
with head as (
    insert into thread_heads (thread_id) values (%(thread_id)s)
)
insert into threads (thread_id, hidden) values (%(thread_id)s, %(hidden)s)

-- name: place
-- Under the head's lock, as a statement of its own: accept one run as pending.
with head as (
    update thread_heads set inflight = inflight + 1 where thread_id = %(thread_id)s returning last_seq
), asked as materialized (
    select %(thread_metadata)s::jsonb || jsonb_build_object(
        'graph_id', %(graph_id)s::text, 'assistant_id', %(assistant_id)s::uuid) as origin, clock_timestamp() as now
), named_thread as (
    update threads t set metadata = t.metadata || a.origin
    from asked a
    where t.thread_id = %(thread_id)s and not t.metadata @> a.origin
)
insert into runs
    (run_id, thread_id, assistant_id, graph_id, status, metadata, kwargs, multitask_strategy, start_seq, due_at,
    created_at, updated_at, webhook)
select %(run_id)s, t.thread_id, %(assistant_id)s, %(graph_id)s, 'pending',
    %(inherited)s::jsonb || t.metadata || %(metadata)s::jsonb || a.origin, %(kwargs)s::json, %(strategy)s,
    head.last_seq, a.now + make_interval(secs => %(delay)s), a.now, a.now, %(webhook)s
from head, asked a, threads t
where t.thread_id = %(thread_id)s
returning status, metadata, attempt, start_seq, created_at, updated_at, started_at

-- name: ensure_threads
-- Create threads that a caller named and that are not there yet, in id order; the others stay as they are.
with missing as (
    insert into threads (thread_id)
    select thread_id from unnest(%(thread_id)s::uuid[]) as m (thread_id) order by thread_id
    on conflict do nothing
    returning thread_id
)
insert into thread_heads (thread_id)
select thread_id from missing order by thread_id
on conflict do nothing

-- name: claim
-- Take up to `room` threads that have a due pending run and no active one, and of each its earliest.
with free as materialized (
    select h.thread_id
    from thread_heads h
    where h.run_id is null
        and h.thread_id in (
            select r.thread_id
            from runs r
            join thread_heads w on w.thread_id = r.thread_id and w.run_id is null
            where r.status = 'pending' and r.due_at <= clock_timestamp()
            order by r.due_at
            limit %(room)s * 4
        )
    order by h.thread_id
    limit %(room)s
    for no key update of h skip locked
), earliest as (
    select distinct on (r.thread_id) r.thread_id, r.run_id
    from runs r
    join free f on f.thread_id = r.thread_id
    where r.status = 'pending' and r.due_at <= clock_timestamp()
    order by r.thread_id, r.created_at, r.run_id
), claimed as (
    update runs r
    set status = 'running', attempt = r.attempt + 1, process_id = %(process_id)s,
        started_at = coalesce(r.started_at, clock_timestamp()), updated_at = clock_timestamp()
    from earliest e
    where r.run_id = e.run_id and r.status = 'pending'
    returning r.*
), moved_heads as (
    update thread_heads h
    set run_id = c.run_id, epoch = h.epoch + 1, last_seq = h.last_seq + 1, cancel = null
    from claimed c
    where h.thread_id = c.thread_id
    returning h.thread_id, h.last_seq, h.epoch, h.has_checkpoint
), metadata_events as (
    insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
    select h.thread_id, h.last_seq, h.last_seq, c.run_id,
        json_build_array(json_build_array('metadata', octet_length(m.payload),
            (extract(epoch from clock_timestamp()) * 1000000)::bigint)),
        m.payload
    from claimed c
    join moved_heads h on h.thread_id = c.thread_id
    cross join lateral (
        select convert_to(format('{"run_id":"%%s","attempt":%%s}', c.run_id, c.attempt), 'UTF8') as payload
    ) m
)
select c.run_id, c.thread_id, c.assistant_id, c.graph_id, c.status, c.metadata, c.kwargs, c.multitask_strategy,
    c.error, c.attempt, c.failures, c.start_seq, c.end_seq, c.created_at, c.updated_at, c.started_at, c.ended_at,
    h.epoch, h.has_checkpoint, h.last_seq
from claimed c
join moved_heads h on h.thread_id = c.thread_id

-- name: next_due
-- Seconds until the next pending run falls due; null when none waits.
select extract(epoch from min(due_at) - clock_timestamp())::float8 from runs where status = 'pending'

-- name: release
-- Hand runs back to the queue as their worker stops; not counted as a failure. Their fence is gone with it.
-- `delay` seconds are for a run that its worker could not cope with: it must not come back at once for ever.
with held as materialized (
    select h.thread_id, h.run_id
    from thread_heads h
    join unnest(%(thread_id)s::uuid[], %(run_id)s::uuid[], %(epoch)s::integer[]) as m (thread_id, run_id, epoch)
        on h.thread_id = m.thread_id and h.run_id = m.run_id and h.epoch = m.epoch
    order by h.thread_id
    for no key update of h
), freed as (
    update thread_heads h set run_id = null, epoch = h.epoch + 1
    from held
    where h.thread_id = held.thread_id
)
update runs r
set status = 'pending', process_id = null, due_at = clock_timestamp() + make_interval(secs => %(delay)s),
    updated_at = clock_timestamp()
from held
where r.run_id = held.run_id and r.status = 'running'
returning r.run_id

-- name: reap
-- Give the runs of dead processes back to the queue and count a failure. Who is dead is said in lease.sql; unless
-- that is certain, nobody is declared dead within one lease of an outage, that is unless the server and the asking
-- process's own lease have been up for that long. Runs that were asked to stop, or that have failed too often, are
-- left for `abandoned`.
with orphaned as materialized (
    select r.thread_id, r.run_id, r.process_id
    from runs r
    left join processes p on p.process_id = r.process_id
    where r.status = 'running'
        and (
            p.gone
            or %(steady)s and (p.process_id is null or p.leased_until < clock_timestamp())
            or %(calm)s and p.watched and p.quiet_at < clock_timestamp()
                and pg_try_advisory_xact_lock(hashtextextended(p.process_id::text, 0))
        )
        and r.failures + 1 < %(max_attempts)s
), held as materialized (
    select h.thread_id, o.run_id, o.process_id
    from thread_heads h
    join orphaned o on h.thread_id = o.thread_id and h.run_id = o.run_id
    where h.cancel is null
    order by h.thread_id
    for no key update of h skip locked
), released as (
    update runs r
    set status = 'pending', process_id = null, failures = r.failures + 1, due_at = clock_timestamp(),
        updated_at = clock_timestamp()
    from held
    where r.run_id = held.run_id and r.status = 'running' and r.process_id is not distinct from held.process_id
    returning r.run_id, r.thread_id
)
update thread_heads h set run_id = null, epoch = h.epoch + 1
from released r
where h.thread_id = r.thread_id
returning r.run_id, r.thread_id

-- name: steady
-- Whether the asking process may declare others dead whose lease has passed, and those that are cut off: see `reap`.
select coalesce(bool_and(lasting and p.steady_since < clock_timestamp() - %(lease)s::interval), false),
    coalesce(bool_and(lasting and p.calm_since < clock_timestamp() - %(lease)s::interval), false)
from processes p
cross join lateral (
    select p.leased_until > clock_timestamp()
        and pg_postmaster_start_time() < clock_timestamp() - %(lease)s::interval as lasting
) l
where p.process_id = %(process_id)s

-- name: abandoned
-- Runs of dead processes that must be ended rather than run again: a cancel request waits, or too many failures.
select r.run_id, r.thread_id, h.epoch, h.cancel, r.failures + 1 as failures
from runs r
join thread_heads h on h.thread_id = r.thread_id and h.run_id = r.run_id
left join processes p on p.process_id = r.process_id
where r.status = 'running'
    and (
        p.gone
        or %(steady)s and (p.process_id is null or p.leased_until < clock_timestamp())
        or %(calm)s and p.watched and p.quiet_at < clock_timestamp()
            and pg_try_advisory_xact_lock(hashtextextended(p.process_id::text, 0))
    )
    and (h.cancel is not null or r.failures + 1 >= %(max_attempts)s)

-- name: cancelled
-- Which of these active runs were asked to stop, and which have lost their thread to somebody else.
select m.run_id, h.cancel
from unnest(%(thread_id)s::uuid[], %(run_id)s::uuid[], %(epoch)s::integer[]) as m (thread_id, run_id, epoch)
left join thread_heads h on h.thread_id = m.thread_id and h.run_id = m.run_id and h.epoch = m.epoch
where h.thread_id is null or h.cancel is not null

-- name: lock_head
-- The first statement of every change of a thread from outside a run; what follows decides on its columns.
-- A transaction that says nothing for a minute is ended: its process may stand still, or be out of reach, for ever, and
-- the thread with it.
select last_seq, run_id, epoch, inflight, cancel, has_checkpoint
from thread_heads
where thread_id = %(thread_id)s and set_config('idle_in_transaction_session_timeout', '60s', true) is not null
for no key update

-- name: request_cancel
-- Under the head's lock. A rollback that was asked for stays one.
update thread_heads
set cancel = case when cancel = 'rollback' then cancel else %(action)s end
where thread_id = %(thread_id)s and run_id = %(run_id)s

-- name: read_pending
-- Under the head's lock: what the end of a run that never started tells; no row: it is not pending any more.
-- `context` is what handlers encrypted the run in, null where there are none.
select r.graph_id, t."values"::text, r.kwargs -> '__encryption_context__' as context
from runs r left join threads t on t.thread_id = r.thread_id
where r.run_id = %(run_id)s and r.status = 'pending'

-- name: end_pending
-- Under the head's lock: a run that never started is final. Its two last events are how the event-streaming protocol
-- tells of that, and its end, which carries the thread's values.
with ended as (
    update runs
    set status = 'interrupted', ended_at = clock_timestamp(), updated_at = clock_timestamp(),
        end_seq = %(last_seq)s + 2
    where run_id = %(run_id)s and status = 'pending'
    returning run_id, thread_id
), head as (
    update thread_heads h set inflight = h.inflight - 1, last_seq = h.last_seq + 2
    from ended where h.thread_id = ended.thread_id
)
insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
select thread_id, %(last_seq)s + 1, %(last_seq)s + 2, run_id, %(contents)s::json, %(payload)s from ended

-- name: end_active
-- Under the head's lock, by somebody other than the run: the active run is final, its fence gone.
with head as (
    update thread_heads
    set run_id = null, cancel = null, epoch = epoch + 1, inflight = inflight - 1, last_seq = last_seq + %(events)s
    where thread_id = %(thread_id)s and run_id = %(run_id)s
    returning thread_id, last_seq
), ended as (
    update runs r
    set status = %(status)s, error = %(error)s::json, end_seq = head.last_seq, failures = %(failures)s,
        ended_at = clock_timestamp(), updated_at = clock_timestamp()
    from head
    where r.run_id = %(run_id)s
), settled as (
    update threads t
    set status = %(thread_status)s, error = %(thread_error)s::json, interrupts = %(interrupts)s::json,
        "values" = %(values)s::json, updated_at = clock_timestamp(), state_updated_at = clock_timestamp(),
        expires_at = case when t.hidden then clock_timestamp() + %(linger)s::interval else t.expires_at end
    from head
    where t.thread_id = head.thread_id
)
insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
select thread_id, last_seq - %(events)s + 1, last_seq, %(run_id)s, %(contents)s::json, %(payload)s
from head
returning last_seq

-- name: delete_run
-- The row of a run that was rolled back or that somebody deleted; its events stay.
delete from runs where run_id = %(run_id)s and thread_id = %(thread_id)s returning run_id

-- name: pending_runs
-- The thread's runs that have not started.
select run_id from runs where thread_id = %(thread_id)s and status = 'pending' order by created_at, run_id

-- name: in_flight
-- The runs of all threads that have one of these statuses, oldest first.
select thread_id, run_id from runs
where status = any(%(statuses)s::text[]) and status in ('pending', 'running')
order by created_at, run_id

-- name: get
-- One run of a thread.
select run_id, thread_id, assistant_id, graph_id, status, metadata, kwargs, multitask_strategy, error, attempt,
    failures, start_seq, end_seq, created_at, updated_at, started_at, ended_at
from runs where run_id = %(run_id)s and thread_id = %(thread_id)s

-- name: get_many
-- Runs by id, for a process that lost the answer to `admit`. `claimed`: by that statement, which starts a run as
-- it creates it, and by nobody since.
select r.run_id, h.epoch, h.has_checkpoint, r.status, r.metadata, r.attempt, r.start_seq, r.created_at, r.updated_at,
    r.started_at,
    h.run_id = r.run_id and r.process_id = %(process_id)s and r.attempt = 1 and r.started_at = r.created_at as claimed
from runs r join thread_heads h on h.thread_id = r.thread_id
where r.run_id = any(%(run_id)s::uuid[])

-- name: list
-- A thread's runs, newest first; the first row's thread says whether the thread exists at all.
select r.run_id, h.thread_id, r.assistant_id, r.graph_id, r.status, r.metadata, r.kwargs, r.multitask_strategy,
    r.error, r.attempt, r.failures, r.start_seq, r.end_seq, r.created_at, r.updated_at, r.started_at, r.ended_at
from thread_heads h
left join lateral (
    select * from runs r
    where r.thread_id = h.thread_id and (%(status)s::text is null or r.status = %(status)s)
    order by r.created_at desc, r.run_id desc
    limit %(limit)s offset %(offset)s
) r on true
where h.thread_id = %(thread_id)s

-- name: count_pending
-- How many runs wait, for the limit on them.
select count(*) from runs where status = 'pending' and due_at <= clock_timestamp()
