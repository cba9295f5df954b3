-- All that counts as a record of a person: every accepted customer record, and for each person that a quarantined one
-- names one without consent.
-- Columns: person, serial (null for a quarantined record), consents, and the source's as they came.
SELECT
    "_person" AS person,
    "_device" AS serial,
    coalesce("shareWithResearchAsOfDate" <= as_of, FALSE) AND coalesce("lastUpdateDate" <= as_of, TRUE) AS consents,
    "customerName",
    email,
    phone,
    "birthDay",
    "serialNumber",
    "registrationDate",
    "lastUpdateDate",
    "shareWithResearchAsOfDate",
    "shareWithPublicAsOfDate",
    "shareWithFriendsAsOfDate"
FROM customer_landing
CROSS JOIN run

UNION ALL

SELECT
    people.person,
    CAST(NULL AS VARCHAR) AS serial,
    FALSE AS consents,
    CAST(NULL AS VARCHAR) AS "customerName",
    CAST(NULL AS VARCHAR) AS email,
    CAST(NULL AS VARCHAR) AS phone,
    CAST(NULL AS VARCHAR) AS "birthDay",
    CAST(NULL AS VARCHAR) AS "serialNumber",
    CAST(NULL AS BIGINT) AS "registrationDate",
    quarantined."_updated" AS "lastUpdateDate",
    CAST(NULL AS BIGINT) AS "shareWithResearchAsOfDate",
    CAST(NULL AS BIGINT) AS "shareWithPublicAsOfDate",
    CAST(NULL AS BIGINT) AS "shareWithFriendsAsOfDate"
FROM customer_quarantine AS quarantined
CROSS JOIN UNNEST(quarantined."_people") AS people (person)
