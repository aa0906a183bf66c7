-- Why: runs that start at set times. The time of the next one is a column, so that whoever claims the row fires it.
-- Locks: creates a table only.
-- Previous release: does not know the table and does not need it.

set local lock_timeout = '4s';

create table crons (
    cron_id uuid primary key,
    assistant_id uuid not null,
    -- null: each run gets a thread of its own
    thread_id uuid,
    user_id text,
    schedule text not null,
    timezone text,
    end_time timestamptz,
    -- what the client sent, as it is shown, and what a run is made from
    payload json not null default '{}',
    kwargs json not null default '{}',
    metadata jsonb not null default '{}',
    multitask_strategy text not null default 'enqueue',
    on_run_completed text constraint crons_on_run_completed check (on_run_completed in ('delete', 'keep')),
    enabled boolean not null default true,
    -- null: it never falls due again
    next_run_date timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

create index crons_next_run_date on crons (next_run_date) where enabled and next_run_date is not null;
create index crons_thread on crons (thread_id) where thread_id is not null;
create index crons_created_at on crons (created_at desc, cron_id);
create index crons_metadata on crons using gin (metadata jsonb_path_ops);
