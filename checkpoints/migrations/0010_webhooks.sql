-- Why: a webhook is owed from the commit that ends its run, whoever ends it: the run itself, a cancel, a rollback,
--      a takeover. A trigger writes the debt into that very commit, with the run and the values as they are then.
-- Locks: adds a column without a value and a trigger to runs, for a moment each; creates a table.
-- Previous release: creates runs without a webhook, for which the trigger's condition is false.

set local lock_timeout = '4s';

alter table runs add column webhook text;

-- What is still to be delivered, and what was given up (died_at). Delivered is deleted.
create table webhook_deliveries (
    delivery_id bigint generated always as identity primary key,
    run_id uuid not null,
    thread_id uuid not null,
    url text not null,
    -- the row of `runs`; it may be gone by the time of a delivery
    run json not null,
    "values" json,
    attempts integer not null default 0,
    due_at timestamptz not null default clock_timestamp(),
    error text,
    created_at timestamptz not null default clock_timestamp(),
    died_at timestamptz
);

create index webhook_deliveries_due on webhook_deliveries (due_at) where died_at is null;

create function owe_webhook() returns trigger language plpgsql as $$
begin
    insert into webhook_deliveries (run_id, thread_id, url, run, "values")
    values (
        new.run_id, new.thread_id, new.webhook, row_to_json(new),
        (select t."values" from threads t where t.thread_id = new.thread_id)
    );
    return null;
end
$$;

create trigger runs_owe_webhook after update of status on runs for each row
when (
    new.webhook is not null
    and old.status in ('pending', 'running') and new.status in ('success', 'error', 'timeout', 'interrupted')
)
execute function owe_webhook();
