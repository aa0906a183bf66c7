-- Why: what became of each moment of a cron is to be read: the run it started, or why it started none. One that could
--      not start its run is tried again, and given up in the end with its reason.
-- Locks: creates a table; crons, against changes, for the moment in which it is referred to.
-- Previous release: fires without noting it, and leaves what is to be tried again to newer processes.

set local lock_timeout = '4s';

create table cron_fires (
    fire_id uuid primary key,
    cron_id uuid not null references crons on delete cascade,
    -- the moment that the schedule names
    scheduled_at timestamptz not null,
    status text not null default 'pending'
        constraint cron_fires_status check (status in ('pending', 'fired', 'skipped', 'dead')),
    attempts integer not null default 0,
    run_id uuid,
    thread_id uuid,
    -- why there is no run
    error text,
    -- when it is tried again; null: it is settled
    due_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz,
    -- a moment fires once, and a client pages through a cron's by this
    constraint cron_fires_once unique (cron_id, scheduled_at)
);

create index cron_fires_due on cron_fires (due_at) where due_at is not null;
create index cron_fires_settled on cron_fires (settled_at) where settled_at is not null;
create index cron_fires_open on cron_fires (status) where status in ('pending', 'dead');
