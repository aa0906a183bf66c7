-- The lease of a process: it lives while leased_until, on the database's clock, is ahead.
--
-- Who is dead, and who may say so (`reap` and `abandoned` in queue.sql decide):
--   * gone: for certain, whoever asks. Said by the process's keeper, or by its host.
--   * Its lease has passed: by a process that was steady for one lease, as was the server.
--   * It is quiet, and nobody holds its lock: cut off, or dead with its keeper. By a process that was never quiet
--     itself for one lease, and as above: when everybody lost the connection, nobody knows anything about others.

-- name: renew
-- Also the registration. steady_since restarts when the lease had lapsed: whoever was cut off, as everybody
-- was in an outage, has to be back for one lease before it may declare others dead.
insert into processes (process_id, name, leased_until, steady_since, quiet_at, calm_since, host, pid, birth)
values (
    %(process_id)s, %(name)s, clock_timestamp() + %(lease)s, clock_timestamp(), clock_timestamp() + %(quiet)s,
    clock_timestamp(), %(host)s, %(pid)s, %(birth)s
)
on conflict (process_id) do update
set steady_since = case
        when processes.leased_until < clock_timestamp() then clock_timestamp() else processes.steady_since end,
    calm_since = case
        when processes.quiet_at < clock_timestamp() then clock_timestamp() else processes.calm_since end,
    leased_until = clock_timestamp() + %(lease)s,
    quiet_at = clock_timestamp() + %(quiet)s,
    gone = false

-- name: expire
-- The process is gone for certain: its runs may be taken over at once, which the others are told.
with gone as (
    update processes set gone = true, leased_until = least(leased_until, clock_timestamp())
    where process_id = %(process_id)s
    returning process_id
)
select pg_notify(%(channel)s, json_build_object('p', process_id, 'd', true)::text) from gone

-- name: watch
-- On the connection that listens: held, shared with what is left of the connection before, for as long as that lives.
select pg_advisory_lock_shared(hashtextextended(%(process_id)s::text, 0))

-- name: note_watched
-- From now on the lock says something; before it was taken, it would have said that the process is cut off.
update processes set watched = true where process_id = %(process_id)s

-- name: find_neighbours
-- Processes that share our host and have fallen silent.
select process_id, pid, birth
from processes
where host = %(host)s and process_id <> %(process_id)s and not gone and quiet_at < clock_timestamp()

-- name: declare_gone
-- One that has been heard of again since is there.
update processes set gone = true, leased_until = least(leased_until, clock_timestamp())
where process_id = any(%(process_ids)s::uuid[]) and quiet_at < clock_timestamp()

-- name: deregister
-- A process that stopped in order, after it handed its runs back.
delete from processes where process_id = %(process_id)s

-- name: count_others
-- How many other processes are alive, and so may listen to hints.
select count(*) from processes where process_id <> %(process_id)s and leased_until > clock_timestamp()

-- name: forget_dead
-- Rows nobody needs any more: runs point at dead processes only until they are reaped.
delete from processes p
where p.leased_until < clock_timestamp() - interval '1 hour'
    and not exists (select from runs r where r.process_id = p.process_id and r.status = 'running')

-- name: forget_writers
-- A writer that committed nothing for a day has no answer left to lose.
delete from writers where updated_at < clock_timestamp() - interval '1 day'
