-- The moments of crons and what became of them. Whoever writes here holds the cron's row.

-- name: open
-- The moment is being acted on. Answers no row when it was before. What earlier ones still wanted is over: there is
-- a newer one.
with passed as (
    update cron_fires
    set status = 'dead', due_at = null, settled_at = clock_timestamp(),
        error = error || ' (given up when the cron fell due again)'
    where cron_id = %(cron_id)s and due_at is not null
)
insert into cron_fires (fire_id, cron_id, scheduled_at)
values (%(fire_id)s, %(cron_id)s, %(scheduled_at)s)
on conflict on constraint cron_fires_once do nothing
returning fire_id

-- name: claim
-- The fire that is to be tried again and is most overdue, with its cron, for the transaction that tries; others that
-- look meanwhile take others.
select f.fire_id, f.scheduled_at, f.attempts,
    c.cron_id, c.assistant_id, c.thread_id, c.user_id, c.schedule, c.timezone, c.end_time, c.payload, c.kwargs,
    c.metadata, c.multitask_strategy, c.on_run_completed, c.enabled, c.next_run_date, c.created_at, c.updated_at
from cron_fires f
join crons c on c.cron_id = f.cron_id
where f.due_at <= clock_timestamp()
order by f.due_at
limit 1
for update skip locked

-- name: note
-- In the transaction of the attempt: what came of it. With a `delay`, in seconds, it is tried again.
update cron_fires
set status = %(status)s, attempts = attempts + 1, run_id = %(run_id)s, thread_id = %(thread_id)s, error = %(error)s,
    due_at = clock_timestamp() + make_interval(secs => %(delay)s::float8),
    settled_at = case when %(delay)s::float8 is null then clock_timestamp() end
where fire_id = %(fire_id)s

-- name: search
-- A cron's fires, the latest moment first. A status that is null filters nothing.
select fire_id, cron_id, scheduled_at, status, attempts, run_id, thread_id, error, due_at, created_at, settled_at
from cron_fires
where cron_id = %(cron_id)s and (%(fire_id)s::uuid is null or fire_id = %(fire_id)s::uuid)
    and (%(status)s::text is null or status = %(status)s::text)
order by scheduled_at desc
limit %(limit)s offset %(offset)s

-- name: retry
-- It is to be tried again now, with all its attempts before it. Answers no row for one that has its run, which is
-- decided on the row itself: whoever tries it locks it.
update cron_fires
set status = 'pending', attempts = 0, due_at = clock_timestamp(), settled_at = null
where fire_id = %(fire_id)s and status <> 'fired'
returning fire_id

-- name: forget
-- Some of what was settled longer ago than it is kept. Answers one row for each.
delete from cron_fires
where fire_id in (
    select fire_id from cron_fires
    where settled_at < clock_timestamp() - least(%(settled)s::interval, %(dead)s::interval)
        and settled_at < clock_timestamp() - case status when 'dead' then %(dead)s::interval else %(settled)s::interval end
    limit %(batch)s
    for update skip locked
)
returning fire_id
