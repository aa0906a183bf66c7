-- Run as the superuser of the embedded server, once per start, in its database `postgres`.

-- name: database_exists
-- Says whether the one database of ours is there; it is missing after the first start only.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'threadline') AS exists;

-- name: create_database
-- Makes the database that the server's DSN names. Cannot run in a transaction.
CREATE DATABASE threadline;
