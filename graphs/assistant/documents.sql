-- What the assistant knows of a team's documents. A passage is found by the words it shares with a query, in the
-- stems of its document's language: the query is read in each language that some document is written in.
-- Ingestion changes one document per transaction, so a search sees each document whole, old or new.

-- name: search_every_word
-- The best passages that hold every word of the query; quotes, "or" and a leading minus mean what they mean
-- in web searches. No row if a word is nowhere.
with languages as materialized (
    select language, websearch_to_tsquery(language::regconfig, %(query)s) as asked
    from (select distinct language from documents) as spoken
),
found as materialized (
    select c.document_id, c.position, l.language, ts_rank_cd(c.search, l.asked, 1) as rank
    from languages l
    join document_chunks c on c.search @@ l.asked
),
best as (
    select d.document_id, d.path, d.title, f.position, f.rank
    from found f
    join documents d using (document_id, language)
    order by f.rank desc, d.path, f.position
    limit %(limit)s
)
select b.path, b.title, c.heading, c.position, c.page, c.content
from best b
join document_chunks c using (document_id, position)
order by b.rank desc, b.path, b.position

-- name: search_any_word
-- The best passages that hold at least one word of the query: first those that hold most different ones.
with words as materialized (
    select language, ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery as word
    from (select distinct language from documents) as spoken,
        unnest(to_tsvector(language::regconfig, %(query)s))
),
languages as materialized (
    select language, string_agg(word::text, ' | ')::tsquery as asked from words group by language
),
found as materialized (
    select c.document_id, c.position, l.language, ts_rank_cd(c.search, l.asked, 1) as rank,
        (select count(*) from words w where w.language = l.language and c.search @@ w.word) as held
    from languages l
    join document_chunks c on c.search @@ l.asked
),
best as (
    select d.document_id, d.path, d.title, f.position, f.held, f.rank
    from found f
    join documents d using (document_id, language)
    order by f.held desc, f.rank desc, d.path, f.position
    limit %(limit)s
)
select b.path, b.title, c.heading, c.position, c.page, c.content
from best b
join document_chunks c using (document_id, position)
order by b.held desc, b.rank desc, b.path, b.position

-- name: detect_language
-- The name of the text search configuration whose filler words ("the", "and") a list of lower-case words has most
-- of, if they are at least so many and such a share of it; no row for a language that PostgreSQL has no such words of.
select c.cfgname as language
from pg_ts_config c
join pg_ts_dict d on d.dictname = c.cfgname || '_stem' and d.dictnamespace = c.cfgnamespace
cross join unnest(%(words)s::text[]) as word
where c.cfgnamespace = 'pg_catalog'::regnamespace and d.dictinitoption ~ 'stopwords'
group by c.cfgname
having count(*) filter (where ts_lexize(d.dictname::regdictionary, word) = '{}')
    >= greatest(%(least)s, %(share)s * count(*))
order by count(*) filter (where ts_lexize(d.dictname::regdictionary, word) = '{}') desc, c.cfgname
limit 1

-- name: known_documents
-- The documents whose path begins with a prefix, with the hash of what was ingested.
select path, content_hash from documents where starts_with(path, %(prefix)s)

-- name: put_document
-- Insert or renew a document and lock its row. No row means that this very content is there already, also when
-- another process has just put it: that one is waited for.
insert into documents (path, title, content_hash, language)
values (%(path)s, %(title)s, %(content_hash)s, %(language)s)
on conflict on constraint documents_path do update
set title = excluded.title, content_hash = excluded.content_hash, language = excluded.language,
    ingested_at = clock_timestamp()
where documents.content_hash <> excluded.content_hash
returning document_id, xmax = 0 as is_new

-- name: clear_chunks
-- Remove a document's passages. A statement of its own after put_document, so that it also sees those which
-- another process committed while put_document waited.
delete from document_chunks where document_id = %(document_id)s

-- name: put_chunks
-- Write a document's passages, in reading order; their words are indexed by a trigger, in the document's language.
insert into document_chunks (document_id, position, heading, content, page)
select %(document_id)s, position, heading, content, page
from unnest(%(headings)s::text[], %(contents)s::text[], %(pages)s::integer[])
    with ordinality as piece (heading, content, page, position)

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
