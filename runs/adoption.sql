-- Threads that LangGraph's saver left in its tables before anybody kept threads.

-- name: adopt
-- Give each thread with checkpoints and without a head both, of this graph, and answer how many there were. Ids that
-- are no UUID cannot be adopted: nobody could name them. What a thread was last is when its latest checkpoint was made.
with found as (
    select lower(c.thread_id)::uuid as thread_id, c.thread_id as name,
        min(c.checkpoint ->> 'ts') as first, max(c.checkpoint ->> 'ts') as last
    from checkpoints c
    where c.thread_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    group by c.thread_id
), head as (
    insert into thread_heads (thread_id, has_checkpoint)
    select thread_id, true from found order by thread_id
    on conflict (thread_id) do nothing
    returning thread_id
), adopted as (
    insert into threads (thread_id, metadata, created_at, updated_at, state_updated_at)
    select f.thread_id, %(metadata)s::jsonb, coalesce(f.first::timestamptz, clock_timestamp()),
        coalesce(f.last::timestamptz, clock_timestamp()), coalesce(f.last::timestamptz, clock_timestamp())
    from found f
    join head h on h.thread_id = f.thread_id
    returning thread_id
)
select count(*) from adopted
