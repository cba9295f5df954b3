-- Every device reading, with its serial number as serial numbers are compared.
-- Columns: sensorReadingTime, serial, distanceFromObject.
WITH trimmed AS (
    -- Each spelling once: there are few of them, and many readings.
    SELECT
        "serialNumber",
        coalesce(regexp_extract("serialNumber", '(?s)[^\s\p{Z}\p{C}](.*[^\s\p{Z}\p{C}])?'), '') AS serial
    FROM (SELECT DISTINCT "serialNumber" FROM step_trainer_landing) AS spellings
),

devices AS (
    SELECT
        "serialNumber",
        lower(
            regexp_replace(replace(serial, chr(304), concat('i', chr(775))), '(\p{L})Σ([^\p{L}.]|\z)', '$1ς$2')
        ) AS serial
    FROM trimmed
)

SELECT
    landed."sensorReadingTime",
    devices.serial,
    landed."distanceFromObject"
FROM step_trainer_landing AS landed
INNER JOIN devices ON landed."serialNumber" = devices."serialNumber"
