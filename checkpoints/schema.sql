-- What is asked about schemas. These statements name none of our tables.

-- name: extensions
-- Where the extension `vector` is, and without it where it is to go: where everybody finds it, else beside our tables.
select coalesce(
    (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'),
    (select nspname from pg_namespace where nspname = 'public'),
    %(schema)s
)::text

-- name: schema_exists
-- Whether it has been made. Asking first lets accounts without the right to make one go on.
select exists (select from pg_namespace where nspname = %(schema)s)
