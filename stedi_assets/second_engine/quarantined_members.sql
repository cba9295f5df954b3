-- What the quarantined customer records hold under which name, at any depth.
-- Columns: record, name (in small letters, its escapes resolved), after_name (as it follows the name), value (as it
-- stands between quotation marks; null where it is no whole text), depth (1 in an object that is in none), is_clear
-- (the record is a whole object that uses no name twice).
--
-- Such a record may be broken anywhere. It is cut at each quotation mark that is not escaped: what lies between two of
-- them is a string or what is outside of strings, and in a whole object they take turns, beginning outside.
WITH records AS (
    SELECT
        row_number() OVER (ORDER BY raw) AS record,
        split(from_utf8(raw), '"') AS pieces,
        NOT arrays_overlap(
            reasons, ARRAY['malformed_json', 'duplicate_key', 'invalid_utf8', 'record_too_large']
        ) AS is_clear
    FROM customer_quarantine
),

pieces AS (
    SELECT
        records.record,
        records.is_clear,
        cut.place,
        cut.piece,
        -- Backslashes escape one another in pairs. One that is left over escapes the quotation mark after it.
        CASE WHEN (length(cut.piece) - length(trim(TRAILING chr(92) FROM cut.piece))) % 2 = 1 THEN 0 ELSE 1 END AS ends
    FROM records
    CROSS JOIN UNNEST(records.pieces) WITH ORDINALITY AS cut (piece, place)
),

numbered AS (
    SELECT
        *,
        sum(ends) OVER (PARTITION BY record ORDER BY place) - ends AS string
    FROM pieces
),

strings AS (
    SELECT
        record,
        is_clear,
        string,
        array_join(array_agg(piece ORDER BY place), '"') AS content,
        -- A name needs a quotation mark before it, and in broken text an escaped one will do.
        max_by(CASE WHEN place > 1 THEN piece END, place) AS name
    FROM numbered
    GROUP BY record, is_clear, string
)

SELECT
    record,
    lower(json_extract_scalar(concat('["', name, '"]'), '$[0]')) AS name,
    lead(content, 1) OVER in_record AS after_name,
    CASE WHEN lead(content, 3) OVER in_record IS NOT NULL THEN lead(content, 2) OVER in_record END AS value,
    sum(
        CASE
            WHEN string % 2 = 0
                THEN length(regexp_replace(content, '[^{\[]')) - length(regexp_replace(content, '[^}\]]'))
            ELSE 0
        END
    ) OVER in_record AS depth,
    is_clear
FROM strings
WINDOW in_record AS (PARTITION BY record ORDER BY string)
