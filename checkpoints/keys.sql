-- Which keys the database's values may need.

-- name: lock
-- The first statement: two processes that start at once see each other's keys. Readers are not held up.
select pg_advisory_xact_lock(hashtextextended('threadline encryption keys', 0))

-- name: noted
-- The keys that are known, and what can be opened with each; '' is plain text.
select key_id, proof from encryption_keys order by created_at, key_id

-- name: note
-- A key that values are going to need.
insert into encryption_keys (key_id, proof) values (%(key_id)s, %(proof)s) on conflict do nothing

-- name: forget
-- The keys that no value needs any more: all but one.
delete from encryption_keys where key_id <> %(key_id)s

-- name: holds_data
-- Whether anything is stored that would have been encrypted.
select exists (select from threads) or exists (select from checkpoints) or exists (select from crons)
    or exists (select from store)
