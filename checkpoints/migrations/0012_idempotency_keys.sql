-- Why: a client whose answer got lost sends its request again. The key that it sent with it is written in the
--      transaction that makes what was asked for, so the second request finds what the first one made.
-- Locks: creates a table only; touches nothing that exists.
-- Previous release: knows nothing of the table. It takes requests as if they had no key.

set local lock_timeout = '4s';

create table idempotency_keys (
    -- SHA-256 of who sent it, so that nobody finds what is another's; of nothing where nobody is known
    caller bytea not null,
    idempotency_key text not null,
    -- SHA-256 of method, path and body: what the key stands for
    fingerprint bytea not null,
    -- the ids of what was made, one object each; what was asked for is kept nowhere but in what was made
    made json not null default '[]',
    created_at timestamptz not null default clock_timestamp(),
    primary key (caller, idempotency_key)
);

create index idempotency_keys_created_at on idempotency_keys (created_at);
