-- What the assistant knows of a team's documents. A passage is found by the words it shares with a query, in
-- English stems. Ingestion changes one document per transaction, so a search sees each document whole, old or new.

-- name: search_every_word
-- The best passages that hold every word of the query; quotes, "or" and a leading minus mean what they mean
-- in web searches. No row if a word is nowhere.
select d.path, d.title, c.heading, c.position, c.content
from websearch_to_tsquery('english', %(query)s) as asked
join document_chunks c on c.search @@ asked
join documents d using (document_id)
order by ts_rank_cd(c.search, asked, 1) desc, d.path, c.position
limit %(limit)s

-- name: search_any_word
-- The best passages that hold at least one word of the query: first those that hold most different ones.
with words as materialized (
    select ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery as word
    from unnest(to_tsvector('english', %(query)s))
),
any_word as materialized (
    select string_agg(word::text, ' | ')::tsquery as asked from words
)
select d.path, d.title, c.heading, c.position, c.content
from any_word
join document_chunks c on c.search @@ any_word.asked
join documents d using (document_id)
order by (select count(*) from words where c.search @@ words.word) desc,
         ts_rank_cd(c.search, any_word.asked, 1) desc, d.path, c.position
limit %(limit)s

-- name: known_documents
-- The documents whose path begins with a prefix, with the hash of what was ingested.
select path, content_hash from documents where starts_with(path, %(prefix)s)

-- name: put_document
-- Insert or renew a document and lock its row. No row means that this very content is there already, also when
-- another process has just put it: that one is waited for.
insert into documents (path, title, content_hash)
values (%(path)s, %(title)s, %(content_hash)s)
on conflict on constraint documents_path do update
set title = excluded.title, content_hash = excluded.content_hash, ingested_at = clock_timestamp()
where documents.content_hash <> excluded.content_hash
returning document_id, xmax = 0 as is_new

-- name: clear_chunks
-- Remove a document's passages. A statement of its own after put_document, so that it also sees those which
-- another process committed while put_document waited.
delete from document_chunks where document_id = %(document_id)s

-- name: put_chunks
-- Write a document's passages, in reading order.
insert into document_chunks (document_id, position, heading, content)
select %(document_id)s, position, heading, content
from unnest(%(headings)s::text[], %(contents)s::text[]) with ordinality as piece (heading, content, position)

-- name: forget_documents
-- Remove documents that are still as the caller saw them; one that was renewed meanwhile stays. Rows are locked
-- in one order, so that two of these never wait for each other.
with gone as materialized (
    select d.document_id, d.path
    from documents d
    join unnest(%(paths)s::text[], %(content_hashes)s::text[]) as seen (path, content_hash)
        on (seen.path, seen.content_hash) = (d.path, d.content_hash)
    order by d.path
    for update of d
)
delete from documents d using gone where d.document_id = gone.document_id
returning gone.path
