-- The device readings of the people in customers_curated, each with its one person; or, where the instant alone
-- decides, the readings of the devices in customers_curated, with nobody. Exact repeats once.
WITH readings AS (
    SELECT DISTINCT
        "sensorReadingTime",
        "_device" AS serial,
        "distanceFromObject"
    FROM step_trainer_landing
)

SELECT
    readings."sensorReadingTime",
    readings.serial AS "serialNumber",
    readings."distanceFromObject",
    owners.person AS "user"
FROM readings
INNER JOIN owners ON readings.serial = owners.serial AND readings."sensorReadingTime" = owners."timestamp"
INNER JOIN customers_curated AS customers ON owners.person = customers.email
CROSS JOIN run
WHERE
    run.match_on = 'customer_and_timestamp'
    AND (run.readings = 'all' OR readings."sensorReadingTime" >= customers."shareWithResearchAsOfDate")

UNION ALL

SELECT
    readings."sensorReadingTime",
    readings.serial AS "serialNumber",
    readings."distanceFromObject",
    CAST(NULL AS VARCHAR) AS "user"
FROM readings
CROSS JOIN run
WHERE
    run.match_on = 'timestamp'
    AND readings.serial IN (SELECT "serialNumber" FROM customers_curated)
