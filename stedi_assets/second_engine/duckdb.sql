-- What Athena has under other names than DuckDB, or does in another way. Nothing else here is DuckDB's alone.

-- The bytes come as text already: DuckDB has no function for any that are not UTF-8.
CREATE MACRO from_utf8(bytes) AS bytes;
CREATE MACRO array_join(texts, separator) AS array_to_string(texts, separator);
CREATE MACRO arrays_overlap(ours, theirs) AS list_has_any(ours, theirs);
CREATE MACRO regexp_like(content, pattern) AS regexp_matches(content, pattern);
-- Athena replaces every match, DuckDB the first one only; and what is `$1` in Athena is `\1` in DuckDB.
CREATE MACRO regexp_replace
    (content, pattern) AS system.main.regexp_replace(content, pattern, '', 'g'),
    (content, pattern, replacement) AS
        system.main.regexp_replace(content, pattern, replace(replacement, '$', '\'), 'g');
-- Null for what is no JSON, where DuckDB would stop.
CREATE MACRO json_extract_scalar(content, path) AS
    CASE WHEN json_valid(content) THEN json_extract_string(content, path) END;
