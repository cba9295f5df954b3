-- Whose a device reading is: the one holder of its device whose phone logged a reading at the same instant, consenting
-- or not. Where none or several did, there is no row.
-- Columns: serial, timestamp, person.
WITH holders AS (
    -- Everyone who ever held a device.
    SELECT DISTINCT person, serial
    FROM customer_records
    WHERE serial IS NOT NULL
)

-- From the phones' side: of some serial numbers there are very many holders, but nobody holds many.
SELECT
    holders.serial,
    phones."timestamp",
    min(holders.person) AS person
FROM phone_readings AS phones
INNER JOIN holders ON phones.person = holders.person
GROUP BY holders.serial, phones."timestamp"
HAVING min(holders.person) = max(holders.person)
