-- Encrypting anew what is stored: with the key that writes now, or, of a copied thread, for its new places.
--
-- What it guarantees:
--   * Each page locks the rows it answers with and skips those that somebody holds, so it waits for nobody and cannot
--     deadlock with a flush; a row that was skipped has its key here and nothing else, and is met in the next round.
--   * A row is rewritten in the transaction that locked it, so whatever a run writes meanwhile comes before or after.
--   * A page ends with the row that fills `bytes`, and starts behind the `after` keys: what cannot be opened holds up
--     nothing else.
--   * `everything` takes rows whatever they are sealed with, of one thread.

-- name: page_checkpoints
-- Checkpoints whose own values are due; `stored` are the channels whose values lie in blobs.
with due as (
    select thread_id, checkpoint_ns, checkpoint_id, pg_column_size(checkpoint) as bytes
    from checkpoints
    where (thread_id, checkpoint_ns, checkpoint_id)
            > (%(after_thread_id)s::text, %(after_checkpoint_ns)s::text, %(after_checkpoint_id)s::text)
        and (%(thread_id)s::text is null or thread_id = %(thread_id)s::text)
        and (%(everything)s or not ((checkpoint -> 'sealed_values' is null or is_sealed((checkpoint -> 'sealed_values')::text, %(key_id)s))
            and not exists (
                select from jsonb_each(checkpoint -> 'channel_values') v
                where v.value <> 'true' or not exists (
                    select from checkpoint_blobs b
                    where b.thread_id = checkpoints.thread_id and b.checkpoint_ns = checkpoints.checkpoint_ns
                        and b.channel = v.key and b.version = checkpoint -> 'channel_versions' ->> v.key
                        and b.blob is not null
                )
            )))
    order by thread_id, checkpoint_ns, checkpoint_id
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, checkpoint_ns, checkpoint_id) - bytes as before from due
)
select p.thread_id, p.checkpoint_ns, p.checkpoint_id, held.checkpoint, held.stored
from page p
left join lateral (
    select t.checkpoint, array(
        select b.channel from checkpoint_blobs b
        join jsonb_each_text(t.checkpoint -> 'channel_versions') v on v.key = b.channel and v.value = b.version
        where b.thread_id = t.thread_id and b.checkpoint_ns = t.checkpoint_ns and b.blob is not null
    ) as stored
    from checkpoints t
    where t.thread_id = p.thread_id and t.checkpoint_ns = p.checkpoint_ns and t.checkpoint_id = p.checkpoint_id
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.checkpoint_ns, p.checkpoint_id

-- name: count_checkpoints
-- How many rows of checkpoints `page_checkpoints` would find without an end.
select count(*) from checkpoints
where not ((checkpoint -> 'sealed_values' is null or is_sealed((checkpoint -> 'sealed_values')::text, %(key_id)s))
            and not exists (
                select from jsonb_each(checkpoint -> 'channel_values') v
                where v.value <> 'true' or not exists (
                    select from checkpoint_blobs b
                    where b.thread_id = checkpoints.thread_id and b.checkpoint_ns = checkpoints.checkpoint_ns
                        and b.channel = v.key and b.version = checkpoint -> 'channel_versions' ->> v.key
                        and b.blob is not null
                )
            ))

-- name: page_blobs
-- Values of channels.
with due as (
    select thread_id, checkpoint_ns, channel, version, coalesce(octet_length(blob), 0) as bytes
    from checkpoint_blobs
    where (thread_id, checkpoint_ns, channel, version)
            > (%(after_thread_id)s::text, %(after_checkpoint_ns)s::text, %(after_channel)s::text,
            %(after_version)s::text)
        and (%(thread_id)s::text is null or thread_id = %(thread_id)s::text)
        and (%(everything)s or not (type = 'empty' or blob is null or type like '%%+%%'
            and is_sealed(blob, %(key_id)s)))
    order by thread_id, checkpoint_ns, channel, version
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, checkpoint_ns, channel, version) - bytes as before from due
)
select p.thread_id, p.checkpoint_ns, p.channel, p.version, held.type, held.blob
from page p
left join lateral (
    select t.type, t.blob from checkpoint_blobs t
    where t.thread_id = p.thread_id and t.checkpoint_ns = p.checkpoint_ns and t.channel = p.channel
            and t.version = p.version
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.checkpoint_ns, p.channel, p.version

-- name: count_blobs
-- How many rows of checkpoint_blobs `page_blobs` would find without an end.
select count(*) from checkpoint_blobs
where not (type = 'empty' or blob is null or type like '%%+%%' and is_sealed(blob, %(key_id)s))

-- name: page_writes
-- Pending writes.
with due as (
    select thread_id, checkpoint_ns, checkpoint_id, task_id, idx, octet_length(blob) as bytes
    from checkpoint_writes
    where (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
            > (%(after_thread_id)s::text, %(after_checkpoint_ns)s::text, %(after_checkpoint_id)s::text,
            %(after_task_id)s::text, %(after_idx)s::integer)
        and (%(thread_id)s::text is null or thread_id = %(thread_id)s::text)
        and (%(everything)s or not (type = 'empty' or blob is null or type like '%%+%%'
            and is_sealed(blob, %(key_id)s)))
    order by thread_id, checkpoint_ns, checkpoint_id, task_id, idx
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, checkpoint_ns, checkpoint_id, task_id,
            idx) - bytes as before from due
)
select p.thread_id, p.checkpoint_ns, p.checkpoint_id, p.task_id, p.idx, held.channel, held.type, held.blob
from page p
left join lateral (
    select t.channel, t.type, t.blob from checkpoint_writes t
    where t.thread_id = p.thread_id and t.checkpoint_ns = p.checkpoint_ns and t.checkpoint_id = p.checkpoint_id
            and t.task_id = p.task_id and t.idx = p.idx
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.checkpoint_ns, p.checkpoint_id, p.task_id, p.idx

-- name: count_writes
-- How many rows of checkpoint_writes `page_writes` would find without an end.
select count(*) from checkpoint_writes
where not (type = 'empty' or blob is null or type like '%%+%%' and is_sealed(blob, %(key_id)s))

-- name: page_base_writes
-- Pending writes that are kept aside for a rollback.
with due as (
    select thread_id, run_id, checkpoint_ns, checkpoint_id, task_id, idx, octet_length(blob) as bytes
    from run_base_writes
    where (thread_id, run_id, checkpoint_ns, checkpoint_id, task_id, idx)
            > (%(after_thread_id)s::uuid, %(after_run_id)s::uuid, %(after_checkpoint_ns)s::text,
            %(after_checkpoint_id)s::text, %(after_task_id)s::text, %(after_idx)s::integer)
        and (%(thread_id)s::text is null or thread_id::text = %(thread_id)s::text)
        and (%(everything)s or not (type = 'empty' or blob is null or type like '%%+%%'
            and is_sealed(blob, %(key_id)s)))
    order by thread_id, run_id, checkpoint_ns, checkpoint_id, task_id, idx
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, run_id, checkpoint_ns, checkpoint_id, task_id,
            idx) - bytes as before from due
)
select p.thread_id, p.run_id, p.checkpoint_ns, p.checkpoint_id, p.task_id, p.idx, held.channel, held.type, held.blob
from page p
left join lateral (
    select t.channel, t.type, t.blob from run_base_writes t
    where t.thread_id = p.thread_id and t.run_id = p.run_id and t.checkpoint_ns = p.checkpoint_ns
            and t.checkpoint_id = p.checkpoint_id and t.task_id = p.task_id and t.idx = p.idx
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.run_id, p.checkpoint_ns, p.checkpoint_id, p.task_id, p.idx

-- name: count_base_writes
-- How many rows of run_base_writes `page_base_writes` would find without an end.
select count(*) from run_base_writes
where not (type = 'empty' or blob is null or type like '%%+%%' and is_sealed(blob, %(key_id)s))

-- name: page_effects
-- Results of effects.
with due as (
    select thread_id, task_id, name, octet_length(blob) as bytes
    from effects
    where (thread_id, task_id, name) > (%(after_thread_id)s::uuid, %(after_task_id)s::text, %(after_name)s::text)
        and (%(thread_id)s::text is null or thread_id::text = %(thread_id)s::text)
        and (%(everything)s or not (type = 'empty' or blob is null or type like '%%+%%'
            and is_sealed(blob, %(key_id)s)))
    order by thread_id, task_id, name
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, task_id, name) - bytes as before from due
)
select p.thread_id, p.task_id, p.name, held.type, held.blob
from page p
left join lateral (
    select t.type, t.blob from effects t
    where t.thread_id = p.thread_id and t.task_id = p.task_id and t.name = p.name
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.task_id, p.name

-- name: count_effects
-- How many rows of effects `page_effects` would find without an end.
select count(*) from effects
where not (type = 'empty' or blob is null or type like '%%+%%' and is_sealed(blob, %(key_id)s))

-- name: page_events
-- Chunks of events. Those that the database wrote itself, of a run that was claimed, say nothing.
with due as (
    select thread_id, last_seq, octet_length(payload) as bytes
    from run_events
    where (thread_id, last_seq) > (%(after_thread_id)s::uuid, %(after_last_seq)s::bigint)
        and (%(thread_id)s::text is null or thread_id::text = %(thread_id)s::text)
        and (%(everything)s or not (is_sealed(payload, %(key_id)s) or json_array_length(contents) = 1
            and contents -> 0 ->> 0 = 'metadata'))
    order by thread_id, last_seq
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id, last_seq) - bytes as before from due
)
select p.thread_id, p.last_seq, held.first_seq, held.run_id, held.contents, held.payload
from page p
left join lateral (
    select t.first_seq, t.run_id, t.contents, t.payload from run_events t
    where t.thread_id = p.thread_id and t.last_seq = p.last_seq
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id, p.last_seq

-- name: count_events
-- How many rows of run_events `page_events` would find without an end.
select count(*) from run_events
where not (is_sealed(payload, %(key_id)s) or json_array_length(contents) = 1 and contents -> 0 ->> 0 = 'metadata')

-- name: page_threads
-- Values, questions, errors and configuration of threads.
with due as (
    select thread_id, coalesce(octet_length("values"::text), 0) + coalesce(octet_length(interrupts::text),
            0) + coalesce(octet_length(error::text), 0) + coalesce(octet_length(config::text), 0) as bytes
    from threads
    where (thread_id) > (%(after_thread_id)s::uuid)
        and (%(thread_id)s::text is null or thread_id::text = %(thread_id)s::text)
        and (%(everything)s or not (coalesce(is_sealed("values"::text, %(key_id)s), true)
            and coalesce(is_sealed(interrupts::text, %(key_id)s), true)
            and coalesce(is_sealed(error::text, %(key_id)s), true)
            and coalesce(is_sealed(config::text, %(key_id)s), true)))
    order by thread_id
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by thread_id) - bytes as before from due
)
select p.thread_id, held.values, held.interrupts, held.error, held.config
from page p
left join lateral (
    select t."values"::text as "values", t.interrupts::text as interrupts, t.error::text as error,
            t.config::text as config from threads t
    where t.thread_id = p.thread_id
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.thread_id

-- name: count_threads
-- How many rows of threads `page_threads` would find without an end.
select count(*) from threads
where not (coalesce(is_sealed("values"::text, %(key_id)s), true)
            and coalesce(is_sealed(interrupts::text, %(key_id)s), true)
            and coalesce(is_sealed(error::text, %(key_id)s), true)
            and coalesce(is_sealed(config::text, %(key_id)s), true))

-- name: page_runs
-- What runs were given, and their errors.
with due as (
    select run_id, coalesce(octet_length(kwargs::text), 0) + coalesce(octet_length(error::text), 0) as bytes
    from runs
    where (run_id) > (%(after_run_id)s::uuid)
        and %(thread_id)s::text is null
        and (%(everything)s or not (coalesce(is_sealed(kwargs::text, %(key_id)s), true)
            and coalesce(is_sealed(error::text, %(key_id)s), true)))
    order by run_id
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by run_id) - bytes as before from due
)
select p.run_id, held.kwargs, held.error
from page p
left join lateral (
    select t.kwargs::text as kwargs, t.error::text as error from runs t
    where t.run_id = p.run_id
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.run_id

-- name: count_runs
-- How many rows of runs `page_runs` would find without an end.
select count(*) from runs
where not (coalesce(is_sealed(kwargs::text, %(key_id)s), true) and coalesce(is_sealed(error::text, %(key_id)s), true))

-- name: page_webhooks
-- What is still to be delivered, or was given up: a row of `runs` and values of its thread.
with due as (
    select delivery_id, coalesce(octet_length(run::text), 0) + coalesce(octet_length("values"::text), 0) as bytes
    from webhook_deliveries
    where (delivery_id) > (%(after_delivery_id)s::bigint)
        and %(thread_id)s::text is null
        and (%(everything)s or not (coalesce(is_sealed("values"::text, %(key_id)s), true)
            and position('"kwargs":{"$sealed":"' || %(key_id)s || ':' in run::text) > 0))
    order by delivery_id
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by delivery_id) - bytes as before from due
)
select p.delivery_id, held.run_id, held.thread_id, held.run, held.values
from page p
left join lateral (
    select t.run_id, t.thread_id, t.run::text as run, t."values"::text as "values" from webhook_deliveries t
    where t.delivery_id = p.delivery_id
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.delivery_id

-- name: count_webhooks
-- How many rows of webhook_deliveries `page_webhooks` would find without an end.
select count(*) from webhook_deliveries where not (coalesce(is_sealed("values"::text, %(key_id)s), true)
            and position('"kwargs":{"$sealed":"' || %(key_id)s || ':' in run::text) > 0)

-- name: page_crons
-- What the runs of crons are given.
with due as (
    select cron_id, coalesce(octet_length(payload::text), 0) + coalesce(octet_length(kwargs::text), 0) as bytes
    from crons
    where (cron_id) > (%(after_cron_id)s::uuid)
        and %(thread_id)s::text is null
        and (%(everything)s or not (coalesce(is_sealed(payload::text, %(key_id)s), true)
            and coalesce(is_sealed(kwargs::text, %(key_id)s), true)))
    order by cron_id
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by cron_id) - bytes as before from due
)
select p.cron_id, held.payload, held.kwargs
from page p
left join lateral (
    select t.payload::text as payload, t.kwargs::text as kwargs from crons t
    where t.cron_id = p.cron_id
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.cron_id

-- name: count_crons
-- How many rows of crons `page_crons` would find without an end.
select count(*) from crons
where not (coalesce(is_sealed(payload::text, %(key_id)s), true) and coalesce(is_sealed(kwargs::text, %(key_id)s), true))

-- name: page_items
-- Items of the store.
with due as (
    select prefix, key, coalesce(octet_length(value::text), 0) as bytes
    from store
    where (prefix, key) > (%(after_prefix)s::text, %(after_key)s::text)
        and %(thread_id)s::text is null
        and (%(everything)s or not (coalesce(is_sealed(value::text, %(key_id)s), true)))
    order by prefix, key
    limit %(rows)s
), page as (
    select *, sum(bytes) over (order by prefix, key) - bytes as before from due
)
select p.prefix, p.key, held.value
from page p
left join lateral (
    select t.value::text as value from store t
    where t.prefix = p.prefix and t.key = p.key
    for no key update skip locked
) held on true
where p.before < %(bytes)s
order by p.prefix, p.key

-- name: count_items
-- How many rows of store `page_items` would find without an end.
select count(*) from store where not (coalesce(is_sealed(value::text, %(key_id)s), true))

-- name: put_checkpoints
-- One row behind `page_checkpoints`, in its transaction; so are the others below.
update checkpoints set checkpoint = %(checkpoint)s::jsonb
where thread_id = %(thread_id)s and checkpoint_ns = %(checkpoint_ns)s and checkpoint_id = %(checkpoint_id)s

-- name: put_blobs
-- See `put_checkpoints`.
update checkpoint_blobs set type = %(type)s, blob = %(blob)s
where thread_id = %(thread_id)s and checkpoint_ns = %(checkpoint_ns)s and channel = %(channel)s
    and version = %(version)s

-- name: put_writes
-- See `put_checkpoints`.
update checkpoint_writes set type = %(type)s, blob = %(blob)s
where thread_id = %(thread_id)s and checkpoint_ns = %(checkpoint_ns)s and checkpoint_id = %(checkpoint_id)s
    and task_id = %(task_id)s and idx = %(idx)s

-- name: put_base_writes
-- See `put_checkpoints`.
update run_base_writes set type = %(type)s, blob = %(blob)s
where thread_id = %(thread_id)s and run_id = %(run_id)s and checkpoint_ns = %(checkpoint_ns)s
    and checkpoint_id = %(checkpoint_id)s and task_id = %(task_id)s and idx = %(idx)s

-- name: put_events
-- See `put_checkpoints`.
update run_events set payload = %(payload)s where thread_id = %(thread_id)s and last_seq = %(last_seq)s

-- name: put_threads
-- See `put_checkpoints`.
update threads
set "values" = %(values)s::json, interrupts = %(interrupts)s::json, error = %(error)s::json, config = %(config)s::json
where thread_id = %(thread_id)s

-- name: put_runs
-- See `put_checkpoints`.
update runs set kwargs = %(kwargs)s::json, error = %(error)s::json where run_id = %(run_id)s

-- name: put_webhooks
-- See `put_checkpoints`.
update webhook_deliveries set run = %(run)s::json, "values" = %(values)s::json where delivery_id = %(delivery_id)s

-- name: put_crons
-- See `put_checkpoints`.
update crons set payload = %(payload)s::json, kwargs = %(kwargs)s::json where cron_id = %(cron_id)s

-- name: put_items
-- See `put_checkpoints`.
update store set value = %(value)s::jsonb where prefix = %(prefix)s and key = %(key)s

-- name: put_effects
-- See `put_checkpoints`.
update effects set type = %(type)s, blob = %(blob)s
where thread_id = %(thread_id)s and task_id = %(task_id)s and name = %(name)s
