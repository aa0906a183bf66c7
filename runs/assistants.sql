-- Assistants. One per graph is made by the system, under an id that follows from the graph's name, so every
-- process that starts with the graph means the same row. What an assistant was is kept as its versions.

-- name: sync
-- In the order of their ids, so that two starting processes wait for each other instead of deadlocking.
-- What people changed on a system assistant (config, context, metadata) stays.
with made as (
    insert into assistants (assistant_id, graph_id, name, description, metadata)
    select s.assistant_id, s.graph_id, s.graph_id, s.description, '{"created_by": "system"}'
    from unnest(%(assistant_ids)s::uuid[], %(graph_ids)s::text[], %(descriptions)s::text[])
        as s (assistant_id, graph_id, description)
    order by s.assistant_id
    on conflict (assistant_id) do update
    set description = excluded.description, updated_at = clock_timestamp()
    where assistants.description is distinct from excluded.description
    returning *
)
insert into assistant_versions (assistant_id, version, graph_id, name, description, config, context, metadata)
select assistant_id, version, graph_id, name, description, config, context, metadata from made
on conflict do nothing

-- name: get_many
-- In any order; an id that is no assistant is left out.
select assistant_id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
from assistants
where assistant_id = any(%(assistant_ids)s::uuid[]) and metadata @> %(granted)s::jsonb

-- name: search
-- A parameter that is null filters nothing. A system assistant whose graph is not served here is left out: it
-- belongs to another deployment, or to a graph that was renamed.
select assistant_id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
from assistants
where (graph_id = any(%(served)s::text[]) or not metadata @> '{"created_by": "system"}')
    and metadata @> %(granted)s::jsonb
    and (%(metadata)s::jsonb is null or metadata @> %(metadata)s::jsonb)
    and (%(graph_id)s::text is null or graph_id = %(graph_id)s::text)
    and (%(name)s::text is null or strpos(lower(name), lower(%(name)s::text)) > 0)
order by
    case when %(order)s::text = 'created_at desc' then created_at end desc,
    case when %(order)s::text = 'created_at asc' then created_at end,
    case when %(order)s::text = 'updated_at desc' then updated_at end desc,
    case when %(order)s::text = 'updated_at asc' then updated_at end,
    case when %(order)s::text = 'name desc' then name end desc,
    case when %(order)s::text = 'name asc' then name end,
    case when %(order)s::text = 'graph_id desc' then graph_id end desc,
    case when %(order)s::text = 'graph_id asc' then graph_id end,
    case when %(order)s::text = 'assistant_id desc' then assistant_id end desc,
    assistant_id
limit %(limit)s offset %(offset)s

-- name: count
-- How many assistants `search` would find with the same filters.
select count(*)
from assistants
where (graph_id = any(%(served)s::text[]) or not metadata @> '{"created_by": "system"}')
    and metadata @> %(granted)s::jsonb
    and (%(metadata)s::jsonb is null or metadata @> %(metadata)s::jsonb)
    and (%(graph_id)s::text is null or graph_id = %(graph_id)s::text)
    and (%(name)s::text is null or strpos(lower(name), lower(%(name)s::text)) > 0)

-- name: create
-- Make an assistant with its first version. Answers no row when one of that id is there.
with made as (
    insert into assistants (assistant_id, graph_id, name, description, config, context, metadata)
    values (%(assistant_id)s, %(graph_id)s, %(name)s, %(description)s, %(config)s::jsonb, %(context)s::jsonb,
        %(metadata)s::jsonb)
    on conflict (assistant_id) do nothing
    returning assistant_id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
), versioned as (
    insert into assistant_versions (assistant_id, version, graph_id, name, description, config, context, metadata)
    select assistant_id, version, graph_id, name, description, config, context, metadata from made
)
select * from made

-- name: lock
-- The first statement of a change: others who change the same assistant wait until it is committed.
select assistant_id, graph_id, name, description, config, context, metadata, version, created_at, updated_at
from assistants
where assistant_id = %(assistant_id)s and metadata @> %(granted)s::jsonb
for no key update

-- name: change
-- Run behind lock. A new version, numbered behind all there were, which becomes the assistant.
with numbered as (
    select coalesce(max(version), 0) + 1 as version from assistant_versions where assistant_id = %(assistant_id)s
), versioned as (
    insert into assistant_versions (assistant_id, version, graph_id, name, description, config, context, metadata)
    select %(assistant_id)s, version, %(graph_id)s, %(name)s, %(description)s, %(config)s::jsonb,
        %(context)s::jsonb, %(metadata)s::jsonb
    from numbered
    returning *
)
update assistants a
set version = v.version, graph_id = v.graph_id, name = v.name, description = v.description, config = v.config,
    context = v.context, metadata = v.metadata, updated_at = clock_timestamp()
from versioned v
where a.assistant_id = v.assistant_id
returning a.assistant_id, a.graph_id, a.name, a.description, a.config, a.context, a.metadata, a.version,
    a.created_at, a.updated_at

-- name: restore
-- Run behind lock. An earlier version becomes the assistant, whole; no row: there is no such version.
update assistants a
set version = v.version, graph_id = v.graph_id, name = v.name, description = v.description, config = v.config,
    context = v.context, metadata = v.metadata, updated_at = clock_timestamp()
from assistant_versions v
where a.assistant_id = %(assistant_id)s and v.assistant_id = a.assistant_id and v.version = %(version)s
returning a.assistant_id, a.graph_id, a.name, a.description, a.config, a.context, a.metadata, a.version,
    a.created_at, a.updated_at

-- name: versions
-- An assistant's versions, newest first.
select assistant_id, graph_id, name, description, config, context, metadata, version, created_at
from assistant_versions
where assistant_id = %(assistant_id)s and (%(metadata)s::jsonb is null or metadata @> %(metadata)s::jsonb)
order by version desc
limit %(limit)s offset %(offset)s

-- name: delete
-- Remove an assistant with its versions. Runs know their graph by themselves, so theirs go on.
delete from assistants
where assistant_id = %(assistant_id)s and metadata @> %(granted)s::jsonb
returning assistant_id
