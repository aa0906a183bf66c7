-- Why: the tables of a durable run: assistants, threads, the head of each thread, runs, the event log,
--      the processes that hold leases and the batches they committed.
-- Locks: creates tables only; touches nothing that exists.
-- Previous release: there is none.
--
-- Untrusted JSON (inputs, values) is `json`, not `jsonb`: `jsonb` refuses U+0000, `json` keeps what came.

set local lock_timeout = '4s';

create table assistants (
    assistant_id uuid primary key,
    graph_id text not null,
    name text not null,
    description text,
    config jsonb not null default '{}',
    context jsonb not null default '{}',
    metadata jsonb not null default '{}',
    version integer not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

create table threads (
    thread_id uuid primary key,
    metadata jsonb not null default '{}',
    config json not null default '{}',
    -- what the last run or state update left behind; a thread with runs in flight reads as busy
    status text not null default 'idle' constraint threads_status check (status in ('idle', 'interrupted', 'error')),
    "values" json,
    interrupts json not null default '{}',
    error json,
    -- a stateless run's thread: hidden from searches, swept when expires_at has passed
    hidden boolean not null default false,
    expires_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    state_updated_at timestamptz not null default clock_timestamp()
) with (fillfactor = 80);

create index threads_created_at on threads (created_at desc, thread_id) where not hidden;
create index threads_metadata on threads using gin (metadata jsonb_path_ops) where not hidden;
create index threads_expires_at on threads (expires_at) where expires_at is not null;

-- The only thing that is locked. It says who may write (run_id, epoch), what number comes next (last_seq),
-- whether a run may start (inflight), what was asked of the active run (cancel) and where the log begins.
create table thread_heads (
    thread_id uuid primary key,
    last_seq bigint not null default 0,
    run_id uuid,
    epoch integer not null default 0,
    inflight integer not null default 0 constraint thread_heads_inflight check (inflight >= 0),
    cancel text constraint thread_heads_cancel check (cancel in ('interrupt', 'rollback')),
    trimmed_seq bigint not null default 0,
    has_checkpoint boolean not null default false
) with (fillfactor = 50);

create table runs (
    run_id uuid primary key,
    thread_id uuid not null,
    assistant_id uuid not null,
    graph_id text not null,
    status text not null constraint runs_status
        check (status in ('pending', 'running', 'success', 'error', 'timeout', 'interrupted')),
    metadata jsonb not null default '{}',
    kwargs json not null default '{}',
    multitask_strategy text not null default 'enqueue',
    error json,
    attempt integer not null default 0,
    -- attempts that ended with the death of their process; a run handed back by a stopping worker has none
    failures integer not null default 0,
    process_id uuid,
    -- the log's last number when the run was accepted, and the number of its end event
    start_seq bigint not null default 0,
    end_seq bigint,
    due_at timestamptz not null default clock_timestamp(),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz
) with (fillfactor = 70);

create index runs_thread on runs (thread_id, created_at desc);
create index runs_pending on runs (due_at) where status = 'pending';
-- a backstop only: one active run per thread is decided on the locked head row
create unique index runs_one_active_per_thread on runs (thread_id) where status = 'running';

-- One row is what one flush wrote of one run: several events, numbered first_seq to last_seq without a hole.
create table run_events (
    thread_id uuid not null,
    first_seq bigint not null,
    last_seq bigint not null,
    run_id uuid not null,
    -- [[name, bytes, time], ...]: one entry per event; time in microseconds since the epoch, on the clock of
    -- the process that took the event; the payloads lie end to end in `payload`
    contents json not null,
    payload bytea not null,
    primary key (thread_id, last_seq)
);

-- The lease belongs to the process, on the database's clock. steady_since is when it was last (re)gained.
create table processes (
    process_id uuid primary key,
    name text not null,
    leased_until timestamptz not null,
    steady_since timestamptz not null,
    started_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- The last batch each writer committed: after a lost connection this row says whether the batch got through.
create table writers (
    writer_id uuid primary key,
    batch bigint not null,
    updated_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
