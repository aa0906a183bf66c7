-- Tasks of agents, as the view `agent_tasks` derives them from runs and threads; nothing about them is written.

-- name: find
-- The task that a run of this thread began.
select task_id, thread_id, assistant_id, run_id, state, message_id, created_at, changed_at
from agent_tasks where task_id = %(task_id)s and thread_id = %(thread_id)s

-- name: list
-- Tasks that agents began with an assistant, newest first, from behind (created_at, task_id) on if that is given.
select task_id, thread_id, assistant_id, run_id, state, message_id, created_at, changed_at
from agent_tasks
where is_from_agent and assistant_id = %(assistant_id)s
    and (%(thread_id)s::uuid is null or thread_id = %(thread_id)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(changed_after)s::timestamptz is null or changed_at > %(changed_after)s)
    and (%(before)s::timestamptz is null or (created_at, task_id) < (%(before)s, %(before_task)s::uuid))
    and thread_metadata @> %(granted)s::jsonb
order by created_at desc, task_id desc
limit %(limit)s

-- name: count
-- How many tasks `list` finds without a limit; one that would take long to count is not counted to its end.
select count(*) from (
    select from agent_tasks
    where is_from_agent and assistant_id = %(assistant_id)s
        and (%(thread_id)s::uuid is null or thread_id = %(thread_id)s)
        and (%(state)s::text is null or state = %(state)s)
        and (%(changed_after)s::timestamptz is null or changed_at > %(changed_after)s)
        and thread_metadata @> %(granted)s::jsonb
    limit %(most)s
) as found
