"""The same five tables as a plain PySpark script with default settings: what most people would write.

No landing tables, no checks, no safe publishing. It is what the whole job's time is held against.

    python plain_script.py LAKE OUT
"""

import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F


def main(lake: str, out: str) -> None:
    """Read a lake's landing files and write the five trusted and curated tables below `out`."""
    spark = SparkSession.builder.appName("plain script").getOrCreate()

    customers = spark.read.json(f"{lake}/customer/landing")
    phone = spark.read.json(f"{lake}/accelerometer/landing")
    device = spark.read.json(f"{lake}/step_trainer/landing")

    newest_first = Window.partitionBy("email").orderBy(F.col("lastUpdateDate").desc())
    trusted_customers = (
        customers.withColumn("rank", F.row_number().over(newest_first))
        .where("rank = 1 AND shareWithResearchAsOfDate IS NOT NULL")
        .drop("rank")
    )
    trusted_customers.write.mode("overwrite").parquet(f"{out}/customer_trusted")
    trusted_customers = spark.read.parquet(f"{out}/customer_trusted")

    trusted_phone = phone.join(trusted_customers, phone.user == trusted_customers.email, "left_semi").dropDuplicates()
    trusted_phone.write.mode("overwrite").parquet(f"{out}/accelerometer_trusted")
    trusted_phone = spark.read.parquet(f"{out}/accelerometer_trusted")

    curated = trusted_customers.join(trusted_phone, trusted_customers.email == trusted_phone.user, "left_semi")
    curated.write.mode("overwrite").parquet(f"{out}/customers_curated")
    curated = spark.read.parquet(f"{out}/customers_curated")

    owners = curated.select("serialNumber", F.col("email").alias("user"))
    trusted_device = device.join(owners, "serialNumber", "inner").dropDuplicates()
    trusted_device.write.mode("overwrite").parquet(f"{out}/step_trainer_trusted")
    trusted_device = spark.read.parquet(f"{out}/step_trainer_trusted")

    same_instant = (trusted_device.user == trusted_phone.user) & (
        trusted_device.sensorReadingTime == trusted_phone.timestamp
    )
    trusted_device.join(trusted_phone, same_instant, "inner").select(
        F.sha2(trusted_phone.user, 256).alias("subject_id"), "timestamp", "distanceFromObject", "x", "y", "z"
    ).write.mode("overwrite").parquet(f"{out}/machine_learning_curated")


if __name__ == "__main__":
    main(*sys.argv[1:])
