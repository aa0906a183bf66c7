-- What decision 0024 measures: the log as one table, and the same rows in a partition for each day.

-- name: create_whole
-- The log as it is.
create table run_events (
    thread_id uuid not null,
    first_seq bigint not null,
    last_seq bigint not null,
    run_id uuid not null,
    contents json not null,
    payload bytea not null,
    logged_at timestamptz not null default now(),
    primary key (thread_id, last_seq)
)

-- name: create_divided
-- The key has to hold what the partitions are made by, and promises less.
create table run_events (
    thread_id uuid not null,
    first_seq bigint not null,
    last_seq bigint not null,
    run_id uuid not null,
    contents json not null,
    payload bytea not null,
    logged_at timestamptz not null default now(),
    primary key (thread_id, last_seq, logged_at)
) partition by range (logged_at)

-- name: create_partitions
-- One for each of so many days, and one for those that come.
do $$
begin
    for day in 0..29 loop
        execute format(
            'create table run_events_%s partition of run_events for values from (%L) to (%L)', day,
            date_trunc('day', now()) - make_interval(days => day),
            date_trunc('day', now()) - make_interval(days => day - 1)
        );
    end loop;
end
$$

-- name: fill
-- Conversations that go on for a month.
insert into run_events
select md5(t::text)::uuid, n, n, md5(t::text)::uuid, '[]', convert_to(repeat('x', 300), 'UTF8'),
    date_trunc('day', now()) - make_interval(days => mod(t + n, 30))
from generate_series(1, 300) t, generate_series(1, 100) n

-- name: threads
-- Some of them.
select distinct thread_id from run_events limit 32

-- name: read
-- What a poll asks for all open streams of a process: what follows the cursor.
select s.thread_id, e.*
from unnest(%(threads)s::uuid[]) as s (thread_id)
left join lateral (
    select * from run_events e
    where e.thread_id = s.thread_id and e.last_seq > 99
    order by e.last_seq
    limit 256
) e on true

-- name: insert
-- What a flush of so many runs inserts.
insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
select thread_id, %(seq)s, %(seq)s, thread_id, '[]', convert_to(repeat('x', 300), 'UTF8')
from unnest(%(threads)s::uuid[]) as t (thread_id)
