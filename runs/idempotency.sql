-- Idempotency keys: which request was served, and what it made.
--
-- What it guarantees:
--   * A key and what was made under it are one commit, so neither is there without the other.
--   * Of requests that come at once, one makes and the others wait for its commit: `take` locks the key's row,
--     also one that nobody else can see yet.

-- name: find
-- What was made under the key, unless that is too long ago.
select fingerprint, made from idempotency_keys
where caller = %(caller)s and idempotency_key = %(idempotency_key)s
    and created_at > clock_timestamp() - %(kept)s::interval

-- name: wait_no_longer
-- The first statement of a keyed transaction: a twin that hangs must not hold all of the pool's connections.
select set_config('lock_timeout', %(patience)s, true)

-- name: take
-- Answers a row if the key is ours from here to the end of the transaction; one whose time is over begins anew.
insert into idempotency_keys (caller, idempotency_key, fingerprint)
values (%(caller)s, %(idempotency_key)s, %(fingerprint)s)
on conflict (caller, idempotency_key) do update
set fingerprint = excluded.fingerprint, made = excluded.made, created_at = excluded.created_at
where idempotency_keys.created_at <= clock_timestamp() - %(kept)s::interval
returning true

-- name: record
-- Behind `take`, in its transaction: what was made.
update idempotency_keys set made = %(made)s::json
where caller = %(caller)s and idempotency_key = %(idempotency_key)s

-- name: forget
-- Keys whose time is over, some at once. Answers one row each.
delete from idempotency_keys
where (caller, idempotency_key) in (
    select caller, idempotency_key from idempotency_keys
    where created_at <= clock_timestamp() - %(kept)s::interval
    order by created_at
    limit %(batch)s
    for update skip locked
)
returning true
