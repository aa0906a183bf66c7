-- The vectors of the store's items: LangGraph's own table, which is made when langgraph.json first asks for an index.

-- name: vector_form
-- What a vector is there, as in vector(1536), without the schema that it may come with; null without the table.
select regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*\.', '')
from (select to_regclass('store_vectors') as store_vectors) t
left join pg_attribute a on a.attrelid = t.store_vectors and a.attname = 'embedding' and not a.attisdropped

-- name: vector_is_available
-- Whether the extension is installed in this database, or could be.
select exists (select from pg_available_extensions where name = 'vector')
