-- Why: agents that speak A2A ask for tasks by id and list them. A task is the run that a message started, with the
--      runs that went on with it; what state it is in follows from rows that are there, so only a view is added.
-- Locks: runs, against writes, while the index is built; it holds only runs that A2A started, of which there are none.
-- Previous release: unaffected, it makes no such runs.

set local lock_timeout = '4s';

create index runs_agent_tasks on runs (assistant_id, created_at desc, run_id desc)
where metadata ->> 'a2a_task' = run_id::text;

create view agent_tasks as
select
    f.run_id as task_id, f.thread_id, f.assistant_id, f.created_at, f.metadata ->> 'a2a_message' as message_id,
    f.metadata ->> 'a2a_task' = f.run_id::text as is_from_agent, t.metadata as thread_metadata,
    r.run_id, r.is_last, greatest(r.created_at, r.started_at, r.ended_at) as changed_at,
    case
        when r.status = 'pending' then 'submitted'
        when r.status = 'running' then 'working'
        when r.status = 'interrupted' then 'canceled'
        when r.status <> 'success' then 'failed'
        when t.status = 'interrupted' and r.is_last then 'input-required'
        else 'completed'
    end as state
from runs f
join threads t on t.thread_id = f.thread_id
cross join lateral (
    select
        each.run_id, each.status, each.created_at, each.started_at, each.ended_at,
        not exists (
            select from runs l
            where l.thread_id = each.thread_id and (l.created_at, l.run_id) > (each.created_at, each.run_id)
        ) as is_last
    from runs each
    where each.thread_id = f.thread_id
        and (each.run_id = f.run_id or each.metadata ->> 'a2a_task' = f.run_id::text)
    order by each.created_at desc, each.run_id desc
    limit 1
) r;
