-- Why: what finished runs leave behind may go by its age. So each run says what of it was cleared away already; the
--      next document finds those that are left.
-- Locks: runs, for the moment of adding a column without rewriting.
-- Previous release: goes on. Nothing of the runs that it makes was cleared away, which is the default.

set local lock_timeout = '4s';

alter table runs add column cleared smallint not null default 0;

comment on column runs.cleared is '0: nothing, 1: its checkpoints were thinned out, 2: its events were removed, 3: both';
