-- Why: a run that resumes an interrupted thread stores answers and results on a checkpoint that an earlier run
--      made. Rolling it back has to give that checkpoint its pending writes back, so they are kept aside.
-- Locks: creates tables only.
-- Previous release: does not know the tables and does not need them.

set local lock_timeout = '4s';

create table run_bases (
    thread_id uuid not null,
    run_id uuid not null,
    checkpoint_ns text not null,
    checkpoint_id text not null,
    primary key (thread_id, run_id, checkpoint_ns, checkpoint_id)
);

-- The pending writes as they were before the run's first own: checkpoint_writes, column by column.
create table run_base_writes (
    thread_id uuid not null,
    run_id uuid not null,
    checkpoint_ns text not null,
    checkpoint_id text not null,
    task_id text not null,
    task_path text not null,
    idx integer not null,
    channel text not null,
    type text,
    blob bytea not null,
    primary key (thread_id, run_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
