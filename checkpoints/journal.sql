-- The bookkeeping of numbered statements: see journal.py. The statements themselves begin with
--     update writers set batch = %(batch)s where writer_id = %(writer_id)s and batch = %(batch)s - 1
-- and do nothing where that finds no row.

-- name: register_writer
-- Said on every new connection: a writer that is known keeps its number.
insert into writers (writer_id, batch) values (%(writer_id)s, %(batch)s) on conflict (writer_id) do nothing

-- name: read_batch
-- Waits for the writer's transaction that may still be committing: a plain read could be too early.
select batch from writers where writer_id = %(writer_id)s for update

-- name: use_generic_plan
-- The flush is planned once: its plan does not depend on the arrays, planning it costs more than running it. On
-- tables that were empty then, that plan would scan them for as long as the connection lives.
select set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false)
