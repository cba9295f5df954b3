-- Every phone reading, with the person whose phone it was.
-- Columns: person, timestamp, x, y, z.
WITH trimmed AS (
    -- Each spelling once: there are few of them, and many readings.
    SELECT
        "user",
        coalesce(regexp_extract("user", '(?s)[^\s\p{Z}\p{C}](.*[^\s\p{Z}\p{C}])?'), '') AS person
    FROM (SELECT DISTINCT "user" FROM accelerometer_landing) AS spellings
),

people AS (
    SELECT
        "user",
        lower(
            regexp_replace(replace(person, chr(304), concat('i', chr(775))), '(\p{L})Σ([^\p{L}.]|\z)', '$1ς$2')
        ) AS person
    FROM trimmed
)

SELECT
    people.person,
    readings."timestamp",
    readings.x,
    readings.y,
    readings.z
FROM accelerometer_landing AS readings
INNER JOIN people ON readings."user" = people."user"
