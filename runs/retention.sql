-- What goes of threads whose time is over, and of those that somebody prunes. Everything here runs behind the
-- locked heads of its threads, as a later statement of the same transaction, except for what says otherwise.

-- name: set_default
-- Remember what langgraph.json says of the time to live, and since when; saying the same again changes nothing.
insert into thread_ttl_default (ttl_minutes, ttl_strategy)
values (%(ttl_minutes)s, %(ttl_strategy)s)
on conflict (single) do update
set ttl_minutes = excluded.ttl_minutes, ttl_strategy = excluded.ttl_strategy, since = clock_timestamp()
where (thread_ttl_default.ttl_minutes, thread_ttl_default.ttl_strategy)
    is distinct from (excluded.ttl_minutes, excluded.ttl_strategy)

-- name: forget_default
-- langgraph.json says nothing of it any more. Threads that have a time to live keep it.
delete from thread_ttl_default

-- name: adopt
-- Give the default to some of the threads that a run made, ordered by age. Needs no head: no run writes these
-- columns. Answers one row per thread.
with found as materialized (
    select t.thread_id, d.ttl_minutes, d.ttl_strategy
    from thread_ttl_default d
    join threads t on t.created_at >= d.since and not t.hidden and t.ttl_minutes is null
    order by t.created_at
    limit %(batch)s
    for no key update of t skip locked
)
update threads t
set ttl_minutes = f.ttl_minutes, ttl_strategy = f.ttl_strategy,
    expires_at = case when f.ttl_minutes >= 0 then t.updated_at + make_interval(secs => f.ttl_minutes * 60) end
from found f
where t.thread_id = f.thread_id
returning t.thread_id

-- name: adopted
-- Everything older than an hour has the default, or began its transaction more than an hour ago.
update thread_ttl_default set since = greatest(since, clock_timestamp() - interval '1 hour')

-- name: rearm
-- Threads that had something done since their time was set begin anew. Needs no head, like adopt.
with found as materialized (
    select thread_id from threads
    where expires_at < clock_timestamp() and not hidden
        and updated_at + make_interval(secs => ttl_minutes * 60) > clock_timestamp()
    order by expires_at
    limit %(batch)s
    for no key update skip locked
)
update threads t
set expires_at = t.updated_at + make_interval(secs => t.ttl_minutes * 60)
from found f
where t.thread_id = f.thread_id
returning t.thread_id

-- name: take_expired
-- The first statement of a sweep: the heads of threads whose time is over, none of them at work. What somebody
-- holds is left for later.
select h.thread_id, t.ttl_strategy
from threads t
join thread_heads h on h.thread_id = t.thread_id
where t.expires_at < clock_timestamp() and not t.hidden and h.inflight = 0
    and t.updated_at + make_interval(secs => t.ttl_minutes * 60) <= clock_timestamp()
order by t.expires_at
limit %(batch)s
for no key update of h, t skip locked

-- name: look_again
-- A pruned thread is looked at again after its time, later and later while nothing happens, at least once a day.
update threads
set expires_at = clock_timestamp() + greatest(
    make_interval(secs => ttl_minutes * 60),
    interval '1 minute',
    least(clock_timestamp() - updated_at, interval '1 day')
)
where thread_id = any(%(thread_ids)s::uuid[])

-- name: take_heads
-- The first statement of a prune: the heads of these threads, ordered by id; what is not there is left out.
select thread_id, inflight from thread_heads
where thread_id = any(%(thread_ids)s::uuid[])
order by thread_id
for no key update

-- name: prune_checkpoints
-- What is kept: of each thread's root graph the newest `keep` checkpoints, with `ends` also the last of each run; of
-- subgraphs the latest of each call that those made, and the latest of those that keep a state of their own; all that
-- was made since `young_id`, or by a run that ended since `before`. A state in a DeltaChannel is the sum of what was written since its last snapshot: those
-- ancestors stay, as does the parent that an old checkpoint has its pending sends with. The rest goes with its pending
-- writes, the oldest first, up to `most` (null: all of it). Answers how many checkpoints went.
with recursive named as materialized (
    select thread_id::text as thread_id, thread_id as id from unnest(%(thread_ids)s::uuid[]) as n (thread_id)
), young_run as materialized (
    select n.thread_id, r.run_id::text as run_id
    from named n
    join runs r on r.thread_id = n.id and r.ended_at >= %(before)s::timestamptz
), found as materialized (
    select c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
        c.metadata -> 'parents' ->> '' as root_id,
        coalesce(c.metadata -> 'counters_since_delta_snapshot', '{}') not in ('{}', 'null')
            or c.metadata ? 'delta_writes_versioned' as is_sum,
        coalesce(c.checkpoint_id collate "C" >= %(young_id)s::text, false) or y.run_id is not null as is_young,
        row_number() over (partition by c.thread_id, c.checkpoint_ns order by c.checkpoint_id desc) as place,
        %(ends)s and c.metadata ->> 'run_id' is distinct from lead(c.metadata ->> 'run_id') over (
            partition by c.thread_id, c.checkpoint_ns order by c.checkpoint_id
        ) as is_end
    from checkpoints c
    join named n using (thread_id)
    left join young_run y on y.thread_id = c.thread_id and y.run_id = c.metadata ->> 'run_id'
), root as materialized (
    select * from found where checkpoint_ns = '' and (is_young or is_end or place <= %(keep)s)
), last_of_call as materialized (
    select distinct on (thread_id, checkpoint_ns, root_id) *
    from found
    where checkpoint_ns <> ''
    order by thread_id, checkpoint_ns, root_id, checkpoint_id desc
), wanted as materialized (
    select * from root
    union
    select * from found
    where checkpoint_ns <> '' and (is_young or (place = 1 and checkpoint_ns not like '%%:%%'))
    union
    select l.* from last_of_call l join root r on r.thread_id = l.thread_id and r.checkpoint_id = l.root_id
), kept as (
    select thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, is_sum from wanted
    union
    select f.thread_id, f.checkpoint_ns, f.checkpoint_id, f.parent_checkpoint_id, f.is_sum
    from kept k
    join found f on f.thread_id = k.thread_id and f.checkpoint_ns = k.checkpoint_ns
        and f.checkpoint_id = k.parent_checkpoint_id
    where k.is_sum
), sender as (
    select w.thread_id, w.checkpoint_ns, w.parent_checkpoint_id as checkpoint_id
    from wanted w
    join checkpoints c using (thread_id, checkpoint_ns, checkpoint_id)
    where c.checkpoint -> 'v' < '4' and exists (
        select from checkpoint_writes s
        where s.thread_id = w.thread_id and s.checkpoint_ns = w.checkpoint_ns
            and s.checkpoint_id = w.parent_checkpoint_id and s.channel = '__pregel_tasks'
    )
), superfluous as (
    select thread_id, checkpoint_ns, checkpoint_id from found
    except
    select thread_id, checkpoint_ns, checkpoint_id from kept
    except
    select thread_id, checkpoint_ns, checkpoint_id from sender
    order by checkpoint_id
    limit %(most)s
), gone as (
    delete from checkpoints c using superfluous s
    where c.thread_id = s.thread_id and c.checkpoint_ns = s.checkpoint_ns and c.checkpoint_id = s.checkpoint_id
    returning c.thread_id, c.checkpoint_ns, c.checkpoint_id
), writes_gone as (
    delete from checkpoint_writes w
    using gone g
    where w.thread_id = g.thread_id and w.checkpoint_ns = g.checkpoint_ns and w.checkpoint_id = g.checkpoint_id
)
select count(*) from gone

-- name: trim
-- The log begins with the newest run of each thread now; nobody may write on as if nothing had happened. What
-- was kept to roll back runs that are final goes, too.
with newest as materialized (
    select n.thread_id, coalesce(max(r.start_seq), max(h.last_seq)) as seq
    from unnest(%(thread_ids)s::uuid[]) as n (thread_id)
    join thread_heads h on h.thread_id = n.thread_id
    left join runs r on r.thread_id = n.thread_id
    group by n.thread_id
), head as (
    update thread_heads h
    set epoch = h.epoch + 1, trimmed_seq = greatest(h.trimmed_seq, n.seq)
    from newest n
    where h.thread_id = n.thread_id
), base as (
    delete from run_bases b using newest n where b.thread_id = n.thread_id
), base_write as (
    delete from run_base_writes w using newest n where w.thread_id = n.thread_id
)
delete from run_events e using newest n where e.thread_id = n.thread_id and e.last_seq <= n.seq
