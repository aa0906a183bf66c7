-- Why: LangGraph's three thread_id indexes repeat the first column of their tables' primary keys; every
--      checkpoint paid for them. Its savers neither need nor re-create them (checkpoint_migrations says done).
-- Locks: an exclusive lock on each of the three tables for the moment of the drop.
-- Previous release: unaffected.

set local lock_timeout = '4s';

drop index if exists checkpoints_thread_id_idx;
drop index if exists checkpoint_blobs_thread_id_idx;
drop index if exists checkpoint_writes_thread_id_idx;
