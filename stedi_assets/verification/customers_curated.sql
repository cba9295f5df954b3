-- The people in customer_trusted with at least one reading in accelerometer_trusted.
SELECT
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
FROM customer_trusted
WHERE email IN (SELECT DISTINCT "user" FROM accelerometer_trusted)
