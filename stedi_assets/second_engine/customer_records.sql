-- All that counts as a record of a person: every accepted customer record, and whatever quarantined ones say of them.
-- Columns: person, serial (null where a quarantined record has none), consents, and the source's as they came.
WITH trimmed AS (
    -- From the first visible character to the last one.
    SELECT
        *,
        coalesce(regexp_extract(email, '(?s)[^\s\p{Z}\p{C}](.*[^\s\p{Z}\p{C}])?'), '') AS person,
        coalesce(regexp_extract("serialNumber", '(?s)[^\s\p{Z}\p{C}](.*[^\s\p{Z}\p{C}])?'), '') AS serial
    FROM customer_landing
)

SELECT
    -- `lower` turns one character into one other, whatever is around it. That is not enough for an I with a dot, nor
    -- for a Sigma that ends a word.
    lower(
        regexp_replace(replace(person, chr(304), concat('i', chr(775))), '(\p{L})Σ([^\p{L}.]|\z)', '$1ς$2')
    ) AS person,
    lower(
        regexp_replace(replace(serial, chr(304), concat('i', chr(775))), '(\p{L})Σ([^\p{L}.]|\z)', '$1ς$2')
    ) AS serial,
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
FROM trimmed
CROSS JOIN run

UNION ALL

SELECT
    person,
    serial,
    FALSE AS consents,
    CAST(NULL AS VARCHAR) AS "customerName",
    CAST(NULL AS VARCHAR) AS email,
    CAST(NULL AS VARCHAR) AS phone,
    CAST(NULL AS VARCHAR) AS "birthDay",
    CAST(NULL AS VARCHAR) AS "serialNumber",
    CAST(NULL AS BIGINT) AS "registrationDate",
    "lastUpdateDate",
    CAST(NULL AS BIGINT) AS "shareWithResearchAsOfDate",
    CAST(NULL AS BIGINT) AS "shareWithPublicAsOfDate",
    CAST(NULL AS BIGINT) AS "shareWithFriendsAsOfDate"
FROM quarantined_customers
