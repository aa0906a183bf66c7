-- What decision 0024 measures: what its index costs a run that ends.

-- name: drop_index
-- The schema as it was before.
drop index runs_ended

-- name: begin
-- Runs at work, as many as a flush ends together.
insert into runs (run_id, thread_id, assistant_id, graph_id, status, kwargs)
select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'g', 'running', '{"input": 1}' from generate_series(1, 32)
returning run_id

-- name: finish
-- Their end, as `flush` writes it.
update runs
set status = 'success', end_seq = 5, ended_at = clock_timestamp(), updated_at = clock_timestamp()
where run_id = any(%(run_ids)s)
