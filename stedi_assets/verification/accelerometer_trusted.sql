-- The phone readings of the people in customer_trusted, exact repeats once.
SELECT DISTINCT
    readings."_person" AS "user",
    readings."timestamp",
    readings.x,
    readings.y,
    readings.z
FROM accelerometer_landing AS readings
INNER JOIN customer_trusted AS customers ON readings."_person" = customers.email
CROSS JOIN run
WHERE run.readings = 'all' OR readings."timestamp" >= customers."shareWithResearchAsOfDate"
