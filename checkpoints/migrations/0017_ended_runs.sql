-- Why: a sweep has to find the oldest runs that it has not dealt with, without reading past those that it has.
-- Locks: nothing that reads or writes; it is built beside them, which takes 10 s for a million runs.
-- Previous release: goes on, and writes one more entry for each run that ends.

create index concurrently if not exists runs_ended on runs (cleared, ended_at) where ended_at is not null;
