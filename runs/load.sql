-- How much is asked of all processes of a database.

-- name: measure
-- Runs that are due and wait, with how long in seconds, those that wait for nothing but a process, and those that run;
-- what is owed and what was given up.
with waiting as (
    select extract(epoch from clock_timestamp() - r.due_at)::float8 as seconds,
        exists (select from runs o where o.thread_id = r.thread_id and o.status = 'running') as blocked
    from runs r
    where r.status = 'pending' and r.due_at <= clock_timestamp()
)
select count(*) as pending, max(seconds) as longest_wait,
    percentile_cont(0.5) within group (order by seconds) as median_wait,
    max(seconds) filter (where not blocked) as longest_unblocked_wait,
    (select count(*) from runs where status = 'running') as running,
    (select count(*) from processes where leased_until > clock_timestamp()) as processes,
    (select count(*) from webhook_deliveries where died_at is null and due_at is not null) as webhooks_pending,
    (select count(*) from webhook_deliveries where died_at is not null) as webhooks_dead,
    (select count(*) from cron_fires where status = 'pending') as cron_fires_pending,
    (select count(*) from cron_fires where status = 'dead') as cron_fires_dead
from waiting
