-- The outbox of webhooks, as whoever delivers them sees it. Rows come from the trigger runs_owe_webhook, in the
-- commit that ends a run.

-- name: claim
-- Take up to `room` that are due, for `patience`: whoever dies with one leaves it to be due again. A path is for a
-- process that serves it (`is_local`). Each attempt is a row from its beginning on.
with due as (
    select delivery_id
    from webhook_deliveries
    where died_at is null and due_at <= clock_timestamp() and (%(is_local)s or url not like '/%%')
    order by due_at
    limit %(room)s
    for update skip locked
), taken as (
    update webhook_deliveries d
    set attempts = d.attempts + 1, due_at = clock_timestamp() + %(patience)s::interval,
        taken_until = clock_timestamp() + %(patience)s::interval
    from due
    where d.delivery_id = due.delivery_id
    returning d.delivery_id, d.webhook_id, d.attempts, d.last_attempt, d.run_id, d.thread_id, d.url, d.run, d."values"
), lost as (
    update webhook_attempts a
    set ended_at = clock_timestamp(), error = 'nothing was noted: its process died, or could not reach the database'
    from taken
    where a.delivery_id = taken.delivery_id and a.ended_at is null
), begun as (
    insert into webhook_attempts (delivery_id, attempt) select delivery_id, attempts from taken
)
select delivery_id, webhook_id, attempts, last_attempt, run_id, thread_id, url, run, "values"::text as "values"
from taken

-- name: settle
-- It was delivered; unless its thread is gone, it is kept for people to read.
with attempt as (
    update webhook_attempts set ended_at = clock_timestamp(), status_code = %(status_code)s
    where delivery_id = %(delivery_id)s and attempt = %(attempts)s
), gone as (
    delete from webhook_deliveries
    where delivery_id = %(delivery_id)s and attempts = %(attempts)s and not is_kept
)
update webhook_deliveries
set delivered_at = clock_timestamp(), due_at = null, taken_until = null, error = null
where delivery_id = %(delivery_id)s and attempts = %(attempts)s and is_kept

-- name: postpone
-- It was not: try again in `delay` seconds, unless somebody else has begun to.
with attempt as (
    update webhook_attempts set ended_at = clock_timestamp(), status_code = %(status_code)s, error = %(error)s
    where delivery_id = %(delivery_id)s and attempt = %(attempts)s
)
update webhook_deliveries
set due_at = clock_timestamp() + make_interval(secs => %(delay)s), taken_until = null, error = %(error)s
where delivery_id = %(delivery_id)s and attempts = %(attempts)s

-- name: bury
-- It is given up; unless its thread is gone, it is kept for people to read and to start anew.
with attempt as (
    update webhook_attempts set ended_at = clock_timestamp(), status_code = %(status_code)s, error = %(error)s
    where delivery_id = %(delivery_id)s and attempt = %(attempts)s
), gone as (
    delete from webhook_deliveries
    where delivery_id = %(delivery_id)s and attempts = %(attempts)s and not is_kept
)
update webhook_deliveries
set died_at = clock_timestamp(), due_at = null, taken_until = null, error = %(error)s
where delivery_id = %(delivery_id)s and attempts = %(attempts)s and is_kept

-- name: next_due
-- Seconds until the next delivery falls due; null when none waits.
select extract(epoch from min(due_at) - clock_timestamp())::float8
from webhook_deliveries
where died_at is null and due_at is not null and (%(is_local)s or url not like '/%%')
