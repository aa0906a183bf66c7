-- Hints between processes, all on the one channel of their schema.

-- name: tell
-- set_config is for this transaction only: the hint's commit need not wait for the disk.
select pg_notify(%(channel)s, %(payload)s) where set_config('synchronous_commit', 'off', true) = 'off'

-- name: listen
-- On a direct connection: a pooler would hand the session on.
listen {channel}
