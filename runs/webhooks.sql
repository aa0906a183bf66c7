-- The outbox of webhooks. Rows come from the trigger runs_owe_webhook, in the commit that ends a run.

-- name: claim
-- Take up to `room` that are due, for `patience`: whoever dies with one leaves it to be due again. A path is for a
-- process that serves it (`is_local`).
with due as (
    select delivery_id
    from webhook_deliveries
    where died_at is null and due_at <= clock_timestamp() and (%(is_local)s or url not like '/%%')
    order by due_at
    limit %(room)s
    for update skip locked
)
update webhook_deliveries d
set attempts = d.attempts + 1, due_at = clock_timestamp() + %(patience)s::interval
from due
where d.delivery_id = due.delivery_id
returning d.delivery_id, d.attempts, d.run_id, d.thread_id, d.url, d.run, d."values"::text as "values"

-- name: settle
-- It was delivered.
delete from webhook_deliveries where delivery_id = %(delivery_id)s and attempts = %(attempts)s

-- name: postpone
-- It was not: try again in `delay` seconds, unless somebody else has begun to.
update webhook_deliveries
set due_at = clock_timestamp() + make_interval(secs => %(delay)s), error = %(error)s
where delivery_id = %(delivery_id)s and attempts = %(attempts)s

-- name: bury
-- It is given up, and kept for people to read.
update webhook_deliveries
set died_at = clock_timestamp(), error = %(error)s
where delivery_id = %(delivery_id)s and attempts = %(attempts)s

-- name: next_due
-- Seconds until the next delivery falls due; null when none waits.
select extract(epoch from min(due_at) - clock_timestamp())::float8
from webhook_deliveries
where died_at is null and (%(is_local)s or url not like '/%%')

-- name: forget_dead
-- What nobody read for a month.
delete from webhook_deliveries where died_at < clock_timestamp() - interval '30 days'
