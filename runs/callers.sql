-- Whether somebody's filter lets a resource through. A filter is a `jsonb` document; what it lets through contains it.

-- name: thread_matches
-- One row when the thread exists, hidden or not.
select metadata @> %(granted)s::jsonb from threads where thread_id = %(id)s

-- name: assistant_matches
-- One row when the assistant exists.
select metadata @> %(granted)s::jsonb from assistants where assistant_id = %(id)s

-- name: cron_matches
-- One row when the cron exists.
select metadata @> %(granted)s::jsonb from crons where cron_id = %(id)s

-- name: own_thread
-- Create a thread that a run is to be made on, labelled as its creator's; one row when it was not there. A hidden
-- one that no run comes to is swept like those of finished runs.
with head as (
    insert into thread_heads (thread_id) values (%(thread_id)s)
    on conflict (thread_id) do nothing
    returning thread_id
)
insert into threads (thread_id, metadata, hidden, expires_at)
select thread_id, %(metadata)s::jsonb, %(hidden)s,
    case when %(hidden)s then clock_timestamp() + interval '5 minutes' end
from head
returning thread_id
