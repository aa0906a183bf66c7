-- Statements around a demo on a configured server; {name} is an identifier that the demo made up.

-- name: create_database
-- Makes an empty database, whatever is in the server's template.
create database {name} template template0

-- name: drop_database
-- Removes it, also when a killed process is still connected.
drop database {name} with (force)
