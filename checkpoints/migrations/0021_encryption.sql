-- Why: data may be encrypted with keys of ours. Each key that stored values may need is noted with a proof that can be
--      opened with it, so that a process without it, or with another key of the same name, does not even start. Which
--      values are still to be encrypted anew is asked of two functions, which know how a sealed value begins.
-- Locks: creates a table and two functions; touches nothing that exists.
-- Previous release: does not know them and does not need them; it stores in plain text, which a process with keys
--      refuses to read unless it is told to accept it.

set local lock_timeout = '4s';

-- The key '' stands for plain text: there may be values that were stored before there was a key.
create table encryption_keys (
    key_id text primary key,
    proof bytea,
    created_at timestamptz not null default clock_timestamp()
);

create function is_sealed(data bytea, key_id text) returns boolean language sql stable parallel safe as $$
    select substring(data from 1 for 5 + octet_length(key_id))
        = '\x00544c31'::bytea || set_byte('\x00'::bytea, 0, octet_length(key_id)) || convert_to(key_id, 'UTF8')
$$;

-- Of JSON as text, of either type; what is empty says nothing and is never sealed.
create function is_sealed(value text, key_id text) returns boolean language sql stable parallel safe as $$
    select value in ('{}', 'null', '[]', '""', '0', 'false')
        or replace(left(value, 20 + octet_length(key_id)), '{"$sealed": ', '{"$sealed":') like
            '{"$sealed":"' || replace(key_id, '_', '\_') || ':%'
$$;
