-- Why: names of channels and nodes may hold U+0000, which `jsonb` refuses: no process could start with such a graph.
-- Locks: graph_versions, which has few rows, while they are written anew.
-- Previous release: goes on; what it writes is `jsonb`, which is taken as `json`.

set local lock_timeout = '4s';

alter table graph_versions alter column topology type json using topology::json;
