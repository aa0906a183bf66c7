-- Why: the documents that the shipped assistant searches and cites: one row per ingested file, one per passage
--      of it, found through a full-text index.
-- Locks: creates tables only; touches nothing that exists.
-- Previous release: unaffected, it knows neither table.

set local lock_timeout = '4s';

create table documents (
    document_id uuid primary key default gen_random_uuid(),
    path text not null constraint documents_path unique,
    title text not null,
    content_hash text not null,
    ingested_at timestamptz not null default clock_timestamp()
);

create table document_chunks (
    document_id uuid not null constraint document_chunks_document references documents on delete cascade,
    position integer not null constraint document_chunks_position check (position >= 1),
    heading text not null,
    content text not null,
    -- a word in a heading says more about a passage than the same word inside it
    search tsvector not null generated always as (
        setweight(to_tsvector('english', heading), 'A') || to_tsvector('english', content)
    ) stored,
    primary key (document_id, position)
);

create index document_chunks_search on document_chunks using gin (search);
