-- Deliveries of webhooks as clients see them. What they may see goes by the metadata of the thread, of which each
-- delivery keeps what it was when the run ended, for when the thread is gone.

-- name: search
-- A parameter that is null filters nothing; `granted` and `metadata` are what the caller's rules ask of the thread's
-- metadata. Newest first.
select d.webhook_id, d.run_id, d.thread_id, d.url,
    case when d.died_at is not null then 'dead' when d.due_at is null then 'delivered' else 'pending' end as status,
    d.attempts, d.error, case when d.died_at is null then d.due_at end as due_at, d.created_at, d.delivered_at,
    d.died_at, a.attempt_log
from webhook_deliveries d
left join threads t on t.thread_id = d.thread_id
cross join lateral (
    select coalesce(json_agg(json_build_object('attempt', a.attempt, 'started_at', a.started_at,
        'ended_at', a.ended_at, 'status_code', a.status_code, 'error', a.error) order by a.attempt), '[]')
        as attempt_log
    from webhook_attempts a
    where a.delivery_id = d.delivery_id
) a
where (%(webhook_id)s::uuid is null or d.webhook_id = %(webhook_id)s::uuid)
    and (%(run_id)s::uuid is null or d.run_id = %(run_id)s::uuid)
    and (%(thread_id)s::uuid is null or d.thread_id = %(thread_id)s::uuid)
    and case %(status)s::text
        when 'dead' then d.died_at is not null
        when 'delivered' then d.died_at is null and d.due_at is null
        when 'pending' then d.died_at is null and d.due_at is not null
        else true
    end
    and coalesce(t.metadata, d.thread_metadata, '{}') @> %(granted)s::jsonb
    and coalesce(t.metadata, d.thread_metadata, '{}') @> %(metadata)s::jsonb
order by d.delivery_id desc
limit %(limit)s offset %(offset)s

-- name: find
-- Which thread's and which run's the delivery is.
select thread_id, run_id from webhook_deliveries where webhook_id = %(webhook_id)s

-- name: redeliver
-- It is due now, with all its attempts before it. Answers no row for one that is being delivered at this moment,
-- which is decided on the row itself: whoever takes it locks it.
update webhook_deliveries
set due_at = clock_timestamp(), died_at = null, delivered_at = null, last_attempt = attempts + %(attempts)s
where webhook_id = %(webhook_id)s and (taken_until is null or taken_until <= clock_timestamp())
returning webhook_id

-- name: disown
-- In the transaction that deletes these threads: what is settled goes with them, what is still owed when it is.
with settled as (
    delete from webhook_deliveries
    where thread_id = any(%(thread_ids)s::uuid[]) and (died_at is not null or due_at is null)
)
update webhook_deliveries
set is_kept = false
where thread_id = any(%(thread_ids)s::uuid[]) and died_at is null and due_at is not null

-- name: forget
-- Some of what was delivered, or given up, longer ago than it is kept. Answers one row for each.
delete from webhook_deliveries
where delivery_id in (
    select delivery_id from webhook_deliveries
    where delivered_at < clock_timestamp() - %(settled)s::interval or died_at < clock_timestamp() - %(dead)s::interval
    limit %(batch)s
    for update skip locked
)
returning delivery_id
