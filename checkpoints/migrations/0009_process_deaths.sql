-- Why: a process that is dead for certain need not be waited for, and one whose connection is seen to be lost not for
--      a whole lease. Its keeper says that it died, its host can see that it is not there, its lock that it is cut off.
-- Locks: adds columns without rewriting, which waits for statements on `processes` only.
-- Previous release: fills in none of them, and goes by the lease alone.

set local lock_timeout = '4s';

alter table processes
    -- dead for certain: its keeper saw it end, or its host has it no more
    add column gone boolean not null default false,
    -- from when on it has been silent for longer than it ever is
    add column quiet_at timestamptz,
    -- since when it has never been that
    add column calm_since timestamptz,
    -- holds an advisory lock of its own for as long as it is connected
    add column watched boolean not null default false,
    -- who it is on its machine, where that can be asked: see `runs/hosts.py`
    add column host text,
    add column pid integer,
    add column birth text;
