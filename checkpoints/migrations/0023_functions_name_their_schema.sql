-- Why: the functions of our triggers found our tables through the search_path of whoever wrote a row, which a pooler
--      loses. Those that are made from now on name the schema; those that were made before are told it here.
-- Locks: nothing but the functions' own rows in the catalogue.
-- Previous release: unaffected.

set local lock_timeout = '4s';

do $$
declare
    trigger_function regprocedure;
begin
    for trigger_function in
        select distinct t.tgfoid::regprocedure
        from pg_trigger t
        where t.tgrelid in (to_regclass('runs'), to_regclass('document_chunks')) and not t.tgisinternal
    loop
        execute format(
            'alter function %s set search_path = %I', trigger_function,
            (
                select n.nspname from pg_namespace n join pg_class c on c.relnamespace = n.oid
                where c.oid = to_regclass('runs')
            )
        );
    end loop;
end
$$;
