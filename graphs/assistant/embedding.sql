-- Where meanings are kept: one vector for each passage and model. The table is made when somebody first ingests with
-- an embedding model, and only where the extension is: everything else runs on a PostgreSQL without it.

-- name: vector_is_available
-- Whether the extension is installed in this database, or could be.
select exists (select from pg_available_extensions where name = 'vector')

-- name: create_lock
-- Let one session at a time make the table; held until the end of the transaction.
select pg_advisory_xact_lock(7216041853921105)

-- name: create_extension
-- Install the extension; needs the right to, if it is not there yet.
create extension if not exists vector

-- name: create_embeddings
-- Make the table. A passage that goes takes its vectors with it.
create table if not exists document_embeddings (
    document_id uuid not null,
    position integer not null,
    model text not null,
    embedding vector not null,
    primary key (document_id, position, model),
    constraint document_embeddings_chunk foreign key (document_id, position)
        references document_chunks (document_id, position) on delete cascade
)

-- name: embeddings_exist
-- Whether the table has been made.
select to_regclass('document_embeddings') is not null

-- name: passages_without
-- How many passages have no vector of a model.
select count(*)
from document_chunks c
where not exists (
    select from document_embeddings e
    where (e.document_id, e.position, e.model) = (c.document_id, c.position, %(model)s)
)

-- name: next_without
-- Some passages that have no vector of a model, in the order of their keys, after a key.
select c.document_id, c.position, c.heading, c.content
from document_chunks c
where (c.document_id, c.position) > (%(document_id)s, %(position)s) and not exists (
    select from document_embeddings e
    where (e.document_id, e.position, e.model) = (c.document_id, c.position, %(model)s)
)
order by c.document_id, c.position
limit %(limit)s

-- name: put_embeddings
-- Keep vectors of passages that still say what was embedded. They are locked, so that a passage that is replaced
-- at the same time takes its vector with it.
with same as materialized (
    select c.document_id, c.position, e.embedding
    from unnest(%(document_ids)s::uuid[], %(positions)s::integer[], %(contents)s::text[], %(embeddings)s::text[])
        as e (document_id, position, content, embedding)
    join document_chunks c on (c.document_id, c.position, c.content) = (e.document_id, e.position, e.content)
    for key share of c
)
insert into document_embeddings (document_id, position, model, embedding)
select document_id, position, %(model)s, embedding::vector from same
on conflict do nothing

-- name: search_meaning
-- The passages whose vectors are nearest to a query's, of the same model and length.
select d.path, d.title, c.heading, c.position, c.page, c.content
from (
    select document_id, position, embedding <=> %(embedding)s::vector as distance
    from document_embeddings
    where model = %(model)s and vector_dims(embedding) = %(dimensions)s
    order by distance
    limit %(limit)s
) nearest
join document_chunks c using (document_id, position)
join documents d using (document_id)
order by distance, d.path, c.position
