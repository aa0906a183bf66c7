-- Why: documents come in more languages than English and from formats with pages. Each is indexed in its own
--      language, and a passage knows its page, so that a citation can name it.
-- Locks: documents and document_chunks for an instant each; no row is written anew.
-- Previous release: goes on; what it ingests is taken for English, as it always was. It finds what is English.

set local lock_timeout = '4s';

-- A name and no regconfig: PostgreSQL's own upgrade refuses tables that hold its object identifiers.
alter table documents add column language text not null default 'english';

alter table document_chunks
    add column page integer constraint document_chunks_page check (page >= 1),
    alter column search drop expression;

create function index_document_chunk() returns trigger language plpgsql as $$
begin
    -- a word in a heading says more about a passage than the same word inside it
    new.search := (
        select setweight(to_tsvector(language::regconfig, new.heading), 'A')
            || to_tsvector(language::regconfig, new.content)
        from documents
        where document_id = new.document_id
    );
    return new;
end
$$;

create trigger document_chunks_search
before insert or update of heading, content on document_chunks
for each row execute function index_document_chunk();
