-- Why: a node that runs again after a crash, a retry or an answer repeats what it did to the world. What it wraps in
--      `effect` is journalled: the result is kept with the checkpoint that the node's task starts from.
-- Locks: creates a table, for whose reference thread_heads is locked against writers for a moment.
-- Previous release: knows nothing of the table. What deletes a thread's head, of whatever release, takes its effects.

set local lock_timeout = '4s';

create table effects (
    thread_id uuid not null references thread_heads on delete cascade,
    task_id text not null,
    name text not null,
    -- the checkpoint that the task starts from
    checkpoint_ns text not null,
    checkpoint_id text not null,
    -- who carried it out: a rollback of that run takes it along
    run_id uuid not null,
    type text not null,
    blob bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (thread_id, task_id, name)
);
