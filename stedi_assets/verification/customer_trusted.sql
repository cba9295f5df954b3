-- One row per person: the latest record, if that record consents.
WITH ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY person
            ORDER BY
                -- Without a date, a record is the newest if it does not consent, and the oldest if it does.
                CASE WHEN "lastUpdateDate" IS NOT NULL THEN 1 WHEN consents THEN 2 ELSE 0 END,
                "lastUpdateDate" DESC NULLS LAST,
                consents,
                "registrationDate" DESC NULLS LAST,
                "customerName" NULLS FIRST,
                email NULLS FIRST,
                phone NULLS FIRST,
                "birthDay" NULLS FIRST,
                "serialNumber" NULLS FIRST,
                "shareWithResearchAsOfDate" NULLS FIRST,
                "shareWithPublicAsOfDate" NULLS FIRST,
                "shareWithFriendsAsOfDate" NULLS FIRST
        ) AS place
    FROM customer_records
    CROSS JOIN run
    WHERE consents OR consent_record = 'latest'
)

SELECT
    "customerName",
    person AS email,
    phone,
    "birthDay",
    serial AS "serialNumber",
    "registrationDate",
    "lastUpdateDate",
    "shareWithResearchAsOfDate",
    "shareWithPublicAsOfDate",
    "shareWithFriendsAsOfDate"
FROM ranked
WHERE place = 1 AND consents
