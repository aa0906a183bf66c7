-- Why: an assistant's configuration is changed in versions that can be listed and taken up again.
-- Locks: creates one table and fills it with what assistants are now; reads assistants once.
-- Previous release: writes no versions; the row it left in assistants is then the only version that is missing.

set local lock_timeout = '4s';

create table assistant_versions (
    assistant_id uuid not null constraint assistant_versions_assistant references assistants on delete cascade,
    version integer not null,
    graph_id text not null,
    name text not null,
    description text,
    config jsonb not null,
    context jsonb not null,
    metadata jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (assistant_id, version)
);

insert into assistant_versions
    (assistant_id, version, graph_id, name, description, config, context, metadata, created_at)
select assistant_id, version, graph_id, name, description, config, context, metadata, updated_at
from assistants;
