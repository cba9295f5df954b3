-- Whose a device reading is: the one holder of its device whose phone logged a reading at the same instant, consenting
-- or not. Where none or several did, there is no row.
-- Columns: serial, timestamp, person.
WITH holders AS (
    -- Everyone who ever held a device.
    SELECT
        "_person" AS person,
        "_device" AS serial
    FROM customer_landing

    UNION DISTINCT

    SELECT
        people.person,
        devices.serial
    FROM customer_quarantine AS quarantined
    CROSS JOIN UNNEST(quarantined."_people") AS people (person)
    CROSS JOIN UNNEST(quarantined."_devices") AS devices (serial)
)

-- From the phones' side: of some serial numbers there are very many holders, but nobody holds many.
SELECT
    holders.serial,
    phones."timestamp",
    min(holders.person) AS person
FROM accelerometer_landing AS phones
INNER JOIN holders ON phones."_person" = holders.person
GROUP BY holders.serial, phones."timestamp"
HAVING min(holders.person) = max(holders.person)
