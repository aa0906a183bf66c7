-- The group commit. Whatever the runs of a process have pending goes through `flush` as one statement.
--
-- What it guarantees:
--   * Fenced: a run's rows are written only while its thread's head names (run_id, epoch). The head rows are
--     locked, ordered by id, in one place, so two processes' flushes cannot deadlock and a stale one, having
--     waited for the lock, sees the head as it is now. Refused threads are absent from the answer; all others
--     go through.
--   * Numbered: event numbers come from the locked head, which stays locked to the commit, so the order of
--     numbers is the order of commits, whoever appends.
--   * Whole: checkpoints, writes, events and the end of a run are one commit.
--   * Once: the batch's number is compared and set in `writers`. A batch that was committed though its answer
--     got lost does nothing when it is sent again.
--   * Undoable: before a run's first write to a checkpoint of an earlier run, that checkpoint's pending writes
--     are kept aside (the statement reads them as they were before it), so that a rollback can restore them.
--   * A finish meets a cancel request on the locked head: a run that was asked to stop and does not know it
--     yet (cancel_known) is not finished but refused.

-- name: flush
-- See the top of this file. Answers ord, thread_id, last_seq, inflight for every run that was not refused, and a
-- row of ord 0 where the batch had its turn.
-- A head row that somebody holds for long must not hold up the whole batch, hence the local lock_timeout.
with written as materialized (
    update writers set batch = %(batch)s::bigint, updated_at = clock_timestamp()
    where writer_id = %(writer_id)s and batch = %(batch)s::bigint - 1
        and set_config('lock_timeout', '250ms', true) is not null
    returning batch
), mine as materialized (
    select *
    from unnest(
        %(thread_id)b::uuid[], %(run_id)b::uuid[], %(epoch)b::integer[], %(events)b::integer[],
        %(checkpointed)b::boolean[], %(finishing)b::boolean[], %(cancel_known)b::boolean[]
    ) with ordinality as m (thread_id, run_id, epoch, events, checkpointed, finishing, cancel_known, ord)
    where exists (select from written)
), head as materialized (
    select h.thread_id, m.run_id, m.events, m.checkpointed, m.finishing, m.ord
    from thread_heads h
    join mine m on h.thread_id = m.thread_id and h.run_id = m.run_id and h.epoch = m.epoch
    where h.cancel is null or m.cancel_known or not m.finishing
    order by h.thread_id
    for no key update of h
), numbered as (
    update thread_heads h
    set last_seq = h.last_seq + head.events,
        has_checkpoint = h.has_checkpoint or head.checkpointed,
        run_id = case when head.finishing then null else h.run_id end,
        cancel = case when head.finishing then null else h.cancel end,
        inflight = h.inflight - head.finishing::integer
    from head
    where h.thread_id = head.thread_id
    returning head.ord, h.thread_id, head.run_id, head.events, h.last_seq, h.inflight
), put_checkpoints as (
    insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    select n.thread_id::text, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,
        c.checkpoint::jsonb, c.metadata::jsonb
    from unnest(
        %(c_ord)b::integer[], %(c_ns)b::text[], %(c_id)b::text[], %(c_parent)b::text[],
        %(c_checkpoint)b::text[], %(c_metadata)b::text[]
    ) as c (ord, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    join numbered n using (ord)
    on conflict (thread_id, checkpoint_ns, checkpoint_id)
    do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata
), put_blobs as (
    insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    select n.thread_id::text, b.checkpoint_ns, b.channel, b.version, b.type, b.blob
    from unnest(
        %(b_ord)b::integer[], %(b_ns)b::text[], %(b_channel)b::text[], %(b_version)b::text[],
        %(b_type)b::text[], %(b_blob)b::bytea[]
    ) as b (ord, checkpoint_ns, channel, version, type, blob)
    join numbered n using (ord)
    on conflict (thread_id, checkpoint_ns, channel, version) do nothing
), bases as (
    insert into run_bases (thread_id, run_id, checkpoint_ns, checkpoint_id)
    select n.thread_id, n.run_id, b.checkpoint_ns, b.checkpoint_id
    from unnest(%(a_ord)b::integer[], %(a_ns)b::text[], %(a_id)b::text[]) as b (ord, checkpoint_ns, checkpoint_id)
    join numbered n using (ord)
    on conflict do nothing
    returning thread_id, run_id, checkpoint_ns, checkpoint_id
), base_writes as (
    insert into run_base_writes
        (thread_id, run_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    select b.thread_id, b.run_id, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.idx, w.channel,
        w.type, w.blob
    from bases b
    join checkpoint_writes w on w.thread_id = b.thread_id::text
        and w.checkpoint_ns = b.checkpoint_ns and w.checkpoint_id = b.checkpoint_id
), put_writes as (
    insert into checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    select n.thread_id::text, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.idx, w.channel,
        w.type, w.blob
    from unnest(
        %(w_ord)b::integer[], %(w_ns)b::text[], %(w_id)b::text[], %(w_task)b::text[], %(w_path)b::text[],
        %(w_idx)b::integer[], %(w_channel)b::text[], %(w_type)b::text[], %(w_blob)b::bytea[]
    ) as w (ord, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    join numbered n using (ord)
    on conflict (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) do nothing
), overwrite_writes as (
    insert into checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    select n.thread_id::text, w.checkpoint_ns, w.checkpoint_id, w.task_id, w.task_path, w.idx, w.channel,
        w.type, w.blob
    from unnest(
        %(o_ord)b::integer[], %(o_ns)b::text[], %(o_id)b::text[], %(o_task)b::text[], %(o_path)b::text[],
        %(o_idx)b::integer[], %(o_channel)b::text[], %(o_type)b::text[], %(o_blob)b::bytea[]
    ) as w (ord, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    join numbered n using (ord)
    on conflict (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
    do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob
), put_events as (
    insert into run_events (thread_id, first_seq, last_seq, run_id, contents, payload)
    select n.thread_id, n.last_seq - n.events + 1, n.last_seq, n.run_id, e.contents::json, e.payload
    from unnest(%(e_ord)b::integer[], %(e_contents)b::text[], %(e_payload)b::bytea[])
        as e (ord, contents, payload)
    join numbered n using (ord)
    where n.events > 0
), finish as materialized (
    select n.thread_id, n.run_id, n.last_seq, f.status, f.error, f.thread_status, f.thread_error, f.values,
        f.interrupts, f.config
    from unnest(
        %(f_ord)b::integer[], %(f_status)b::text[], %(f_error)b::text[], %(f_thread_status)b::text[],
        %(f_thread_error)b::text[], %(f_values)b::text[], %(f_interrupts)b::text[], %(f_config)b::text[]
    ) as f (ord, status, error, thread_status, thread_error, "values", interrupts, config)
    join numbered n using (ord)
), finished as (
    update runs r
    set status = f.status, error = f.error::json, end_seq = f.last_seq,
        ended_at = clock_timestamp(), updated_at = clock_timestamp()
    from finish f
    where r.run_id = f.run_id
), settled as (
    update threads t
    set status = f.thread_status, error = f.thread_error::json, interrupts = f.interrupts::json,
        "values" = coalesce(f.values::json, t.values), config = coalesce(f.config::json, t.config),
        updated_at = clock_timestamp(), state_updated_at = clock_timestamp(),
        expires_at = case when t.hidden then clock_timestamp() + %(linger)s::interval else t.expires_at end
    from finish f
    where t.thread_id = f.thread_id
)
select ord, thread_id, last_seq, inflight from numbered
union all
select 0, null, null, null from written

-- name: read_fences
-- What became of a batch's runs, for a writer that lost the answer: does the head still name them, was their
-- end recorded, is a cancel request in the way of their finish.
select m.ord, h.run_id is not distinct from m.run_id and h.epoch = m.epoch as held, h.cancel is not null as cancelled,
    r.end_seq is not null as ended, coalesce(h.last_seq, 0) as last_seq, coalesce(h.inflight, 0) as inflight
from unnest(%(thread_id)b::uuid[], %(run_id)b::uuid[], %(epoch)b::integer[])
    with ordinality as m (thread_id, run_id, epoch, ord)
left join thread_heads h on h.thread_id = m.thread_id
left join runs r on r.run_id = m.run_id
