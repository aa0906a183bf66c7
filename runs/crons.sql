-- Crons: runs at set times. `next_run_date` is made by whoever writes the row, from its schedule and time zone.

-- name: create
-- Answers the cron.
insert into crons
    (cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date)
values
    (%(cron_id)s, %(assistant_id)s, %(thread_id)s, %(user_id)s, %(schedule)s, %(timezone)s, %(end_time)s,
    %(payload)s::json, %(kwargs)s::json, %(metadata)s::jsonb, %(multitask_strategy)s, %(on_run_completed)s,
    %(enabled)s, %(next_run_date)s)
returning cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at

-- name: thread_exists
-- Answers a row if there is that thread.
select from thread_heads where thread_id = %(thread_id)s

-- name: get
-- One cron.
select cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at
from crons where cron_id = %(cron_id)s

-- name: lock
-- As `get`; nobody fires or changes the cron before the transaction ends.
select cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at
from crons where cron_id = %(cron_id)s
for update

-- name: update
-- Behind `lock`. Metadata is merged.
update crons
set schedule = %(schedule)s, timezone = %(timezone)s, end_time = %(end_time)s, payload = %(payload)s::json,
    kwargs = %(kwargs)s::json, metadata = metadata || %(metadata)s::jsonb, on_run_completed = %(on_run_completed)s,
    enabled = %(enabled)s, next_run_date = %(next_run_date)s, updated_at = clock_timestamp()
where cron_id = %(cron_id)s
returning cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at

-- name: delete
-- Runs that it started stay. Answers a row if there was one.
delete from crons where cron_id = %(cron_id)s returning cron_id

-- name: search
-- A parameter that is null filters nothing; `granted` is what the caller's filter asks of metadata.
select cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at
from crons
where (%(assistant_id)s::uuid is null or assistant_id = %(assistant_id)s::uuid)
    and (%(thread_id)s::uuid is null or thread_id = %(thread_id)s::uuid)
    and (%(enabled)s::boolean is null or enabled = %(enabled)s::boolean)
    and (%(metadata)s::jsonb is null or metadata @> %(metadata)s::jsonb)
    and metadata @> %(granted)s::jsonb
order by
    case when %(order)s::text = 'created_at desc' then created_at end desc,
    case when %(order)s::text = 'created_at asc' then created_at end,
    case when %(order)s::text = 'updated_at desc' then updated_at end desc,
    case when %(order)s::text = 'updated_at asc' then updated_at end,
    case when %(order)s::text = 'next_run_date desc' then next_run_date end desc nulls last,
    case when %(order)s::text = 'next_run_date asc' then next_run_date end,
    case when %(order)s::text = 'end_time desc' then end_time end desc nulls last,
    case when %(order)s::text = 'end_time asc' then end_time end,
    case when %(order)s::text = 'assistant_id desc' then assistant_id end desc,
    case when %(order)s::text = 'assistant_id asc' then assistant_id end,
    case when %(order)s::text = 'thread_id desc' then thread_id end desc nulls last,
    case when %(order)s::text = 'thread_id asc' then thread_id end,
    case when %(order)s::text = 'cron_id desc' then cron_id end desc,
    cron_id
limit %(limit)s offset %(offset)s

-- name: count
-- How many crons `search` would find with the same filters.
select count(*)
from crons
where (%(assistant_id)s::uuid is null or assistant_id = %(assistant_id)s::uuid)
    and (%(thread_id)s::uuid is null or thread_id = %(thread_id)s::uuid)
    and (%(metadata)s::jsonb is null or metadata @> %(metadata)s::jsonb)
    and metadata @> %(granted)s::jsonb

-- name: claim
-- The cron that is most overdue, for the transaction that fires it; others that look meanwhile take others. With
-- the database's time, which is the one that counts.
select cron_id, assistant_id, thread_id, user_id, schedule, timezone, end_time, payload, kwargs, metadata,
    multitask_strategy, on_run_completed, enabled, next_run_date, created_at, updated_at, clock_timestamp() as now
from crons
where enabled and next_run_date <= clock_timestamp()
order by next_run_date
limit 1
for update skip locked

-- name: advance
-- In the transaction of `claim`: it is due again then. Null: never.
update crons set next_run_date = %(next_run_date)s where cron_id = %(cron_id)s

-- name: next_due
-- Seconds until the next cron falls due, or a moment of one is to be tried again; null when none does.
select extract(epoch from least(
    (select min(next_run_date) from crons where enabled),
    (select min(due_at) from cron_fires)
) - clock_timestamp())::float8

-- name: now
-- The time that counts: clocks of processes differ.
select clock_timestamp()
