-- What Athena has under other names than DuckDB. Nothing else here is DuckDB's alone.
CREATE MACRO cardinality(elements) AS len(elements);
CREATE MACRO regexp_like(content, pattern) AS regexp_matches(content, pattern);
