-- Why: what became of a webhook is to be read: each attempt with its answer, what was delivered, what was given up.
--      A delivery has an id that is the same for each attempt and known to nobody else, may be started anew, and
--      shows the metadata of its thread even when that is gone, so that whose it was can still be told.
-- Locks: webhook_deliveries, for as long as it takes to give ids to what waits and what was given up; ends of runs
--        with a webhook wait so long. Creates a table. Replaces the function of the trigger.
-- Previous release: claims what has a due_at that has passed, which what is settled has not, and removes what it
--        delivers. It notes no attempts, and gives up a delivery that was started anew at its first failure.

set local lock_timeout = '4s';

alter table webhook_deliveries
    add column webhook_id uuid,
    add column thread_metadata jsonb,
    -- the attempt with which it is given up
    add column last_attempt integer not null default 12,
    -- while a process is at it; if that dies, until then
    add column taken_until timestamptz,
    add column delivered_at timestamptz,
    -- false: its thread was deleted meanwhile, so it goes as soon as it is settled
    add column is_kept boolean not null default true,
    -- null: it is settled
    alter column due_at drop not null;

update webhook_deliveries set webhook_id = gen_random_uuid();

alter table webhook_deliveries
    alter column webhook_id set default gen_random_uuid(),
    alter column webhook_id set not null;

create unique index webhook_deliveries_webhook_id on webhook_deliveries (webhook_id);
create index webhook_deliveries_thread on webhook_deliveries (thread_id, delivery_id desc);
create index webhook_deliveries_run on webhook_deliveries (run_id);
create index webhook_deliveries_delivered on webhook_deliveries (delivered_at) where delivered_at is not null;
create index webhook_deliveries_dead on webhook_deliveries (died_at) where died_at is not null;

drop index webhook_deliveries_due;
create index webhook_deliveries_due on webhook_deliveries (due_at) where died_at is null and due_at is not null;

-- One row per attempt, from its beginning on.
create table webhook_attempts (
    delivery_id bigint not null references webhook_deliveries on delete cascade,
    attempt integer not null,
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    -- what was answered, if anything was
    status_code integer,
    error text,
    primary key (delivery_id, attempt)
);

create or replace function owe_webhook() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (run_id, thread_id, url, run, "values", thread_metadata)
    select new.run_id, new.thread_id, new.webhook, row_to_json(new), t."values", t.metadata
    from (select) as owed
    left join threads t on t.thread_id = new.thread_id;
    return null;
end
$$;
