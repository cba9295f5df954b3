-- Each trusted device reading with each trusted phone reading of the same person at the same instant; or, where the
-- instant alone decides and a device reading has nobody, with each at the same instant. Nothing is deduplicated.
-- Instants are published as closely as the policy says: `run.instant` milliseconds are one instant, their first.
-- `subjects` has the pseudonym of each person. It is made outside of SQL, where its key cannot be seen.
WITH pairs AS (
    SELECT
        phones."user" AS person,
        phones."timestamp",
        devices."distanceFromObject",
        phones.x,
        phones.y,
        phones.z
    FROM step_trainer_trusted AS devices
    INNER JOIN accelerometer_trusted AS phones
        ON devices."sensorReadingTime" = phones."timestamp" AND devices."user" = phones."user"

    UNION ALL

    SELECT
        phones."user" AS person,
        phones."timestamp",
        devices."distanceFromObject",
        phones.x,
        phones.y,
        phones.z
    FROM step_trainer_trusted AS devices
    INNER JOIN accelerometer_trusted AS phones ON devices."sensorReadingTime" = phones."timestamp"
    WHERE devices."user" IS NULL
)

SELECT
    subjects.subject_id,
    pairs."timestamp" - pairs."timestamp" % run.instant AS "timestamp",
    pairs."distanceFromObject",
    pairs.x,
    pairs.y,
    pairs.z
FROM pairs
INNER JOIN subjects ON pairs.person = subjects.person
CROSS JOIN run
