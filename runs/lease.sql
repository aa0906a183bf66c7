-- The lease of a process: it lives while leased_until, on the database's clock, is ahead.

-- name: renew
-- Also the registration. steady_since restarts when the lease had lapsed: whoever was cut off, as everybody
-- was in an outage, has to be back for one lease before it may declare others dead.
insert into processes (process_id, name, leased_until, steady_since)
values (%(process_id)s, %(name)s, clock_timestamp() + %(lease)s, clock_timestamp())
on conflict (process_id) do update
set steady_since = case
        when processes.leased_until < clock_timestamp() then clock_timestamp() else processes.steady_since end,
    leased_until = clock_timestamp() + %(lease)s

-- name: expire
-- The process is gone for certain: its runs may be taken over at once.
update processes set leased_until = clock_timestamp() where process_id = %(process_id)s

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
