-- What our store adds to LangGraph's statements. Parameters are positional there, and so here.

-- name: forget_vectors
-- An item that is put anew loses the vectors of what it was, also of fields that it is no longer found by.
delete from store_vectors v
using unnest(%s::text[], %s::text[]) as put (prefix, key)
where v.prefix = put.prefix and v.key = put.key
