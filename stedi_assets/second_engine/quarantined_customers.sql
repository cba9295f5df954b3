-- Whom the quarantined customer records name: a row for each e-mail, with each serial number of the same record.
-- Columns: record (its place among all by their bytes), person, serial (null where there is none), lastUpdateDate (null where it cannot be read).
WITH texts AS (
    SELECT
        record,
        name,
        coalesce(
            -- JSON has no control characters in a text. In a broken record they are blanks, like those around it.
            json_extract_scalar(concat('["', regexp_replace(value, '[\x00-\x1F]', ' '), '"]'), '$[0]'),
            value
        ) AS content
    FROM quarantined_members
    WHERE
        name IN ('email', 'serialnumber')
        AND value IS NOT NULL
        AND regexp_like(after_name, '^[ \t\n\x0B\f\r]*:[ \t\n\x0B\f\r]*\z')
),

trimmed AS (
    SELECT
        record,
        name,
        coalesce(regexp_extract(content, '(?s)[^\s\p{Z}\p{C}](.*[^\s\p{Z}\p{C}])?'), '') AS content
    FROM texts
),

named AS (
    SELECT
        record,
        name,
        lower(
            regexp_replace(replace(content, chr(304), concat('i', chr(775))), '(\p{L})Σ([^\p{L}.]|\z)', '$1ς$2')
        ) AS content
    FROM trimmed
),

numbers AS (
    SELECT
        record,
        TRY_CAST(
            regexp_extract(after_name, '^[ \t\n\r]*:[ \t\n\r]*([-+.0-9eE]+)', 1) AS DECIMAL(38, 20)
        ) AS number
    FROM quarantined_members
    WHERE name = 'lastupdatedate' AND depth = 1 AND is_clear
),

-- An instant is a whole number, however it is written, of the years 2001 to 2099.
dates AS (
    SELECT record, CAST(number AS BIGINT) AS instant
    FROM numbers
    WHERE number = floor(number) AND CAST(number AS BIGINT) BETWEEN 1000000000000 AND 4099999999999
)

SELECT DISTINCT
    people.record,
    people.content AS person,
    devices.content AS serial,
    dates.instant AS "lastUpdateDate"
FROM named AS people
LEFT JOIN named AS devices ON people.record = devices.record AND devices.name = 'serialnumber'
LEFT JOIN dates ON people.record = dates.record
WHERE people.name = 'email'
