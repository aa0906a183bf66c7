-- Why: a run may meet a checkpoint of another version of its graph. Which versions there are, how they were shaped,
--      and which living process executes which, is what such a run is judged by.
-- Locks: creates tables only; the foreign key takes `processes` for the moment of its creation, which is not read
--      under a lock by anybody.
-- Previous release: does not know the tables and does not need them. Its checkpoints carry no version.

set local lock_timeout = '4s';

-- Kept for good: one row per graph and topology, so as many as there were deploys that changed a graph's shape.
create table graph_versions (
    graph_id text not null,
    topology_hash text not null,
    topology jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (graph_id, topology_hash)
);

-- What living processes execute. A process that stops takes its rows away first, so that nobody waits for it.
create table process_graphs (
    process_id uuid not null constraint process_graphs_process references processes on delete cascade,
    graph_id text not null,
    topology_hash text not null,
    code_hash text not null,
    primary key (process_id, graph_id, topology_hash)
);

create index process_graphs_version on process_graphs (graph_id, topology_hash);
