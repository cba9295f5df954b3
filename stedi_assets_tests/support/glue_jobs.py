"""An AWS Glue for tests: moto's, and in front of it job runs that are real processes.

A run is the job's script under pip's `spark-submit`, with the jars that Glue has. It gets what Glue would give it: its
arguments, and credentials of a role; nothing else of this machine's user. Its output goes to moto's CloudWatch.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyspark

from stedi_assets.aws import glue_job
from stedi_assets.spark.jars import class_path
from stedi_assets.spark.java import find_java
from stedi_assets.spark.maven import MAVEN_CENTRAL
from stedi_assets_tests.support.s3_server import REGION

LOG_GROUP = "/aws-glue/jobs"
_SCRIPT = Path(glue_job.__file__)


@dataclass
class JobRun:
    """A run of the job."""

    id: str
    arguments: dict[str, str]
    process: subprocess.Popen[bytes]
    printed: Path
    state: str = "RUNNING"
    error: str | None = None

    def as_glue_says_it(self, job: str) -> dict[str, Any]:
        """Return what `GetJobRun` answers."""
        return {
            "Id": self.id,
            "JobName": job,
            "JobRunState": self.state,
            "Arguments": self.arguments,
            "LogGroupName": LOG_GROUP,
            **({"ErrorMessage": self.error} if self.error else {}),
        }


@dataclass
class GlueJobs:
    """One job of that Glue, whose endpoint clients use for its catalog, too.

    `command` starts the script, with the arguments behind it. Set `expires` to have a run end as Glue ends one that has
    waited too long, and `seconds` to have it time out. `access_key` is that of the job's role. The answer to a start
    waits for `answers_start_after` seconds. `followed` counts how often somebody asked for a run.
    """

    moto: str
    folder: Path
    job: str = "stedi-lakehouse"
    command: list[str] = field(default_factory=list)
    expires: bool = False
    seconds: float = 600
    access_key: str = "test"
    runs: list[JobRun] = field(default_factory=list)
    answers_start_after: float = 0
    followed: int = 0

    def __post_init__(self) -> None:
        """Start listening."""
        self.command = self.command or _spark_submit(self.folder)
        self._lock = threading.RLock()
        server = self

        class Handler(_Handler):
            jobs = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "GlueJobs":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        for run in self.runs:
            self._end(run)
        self._server.shutdown()
        self._server.server_close()

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a request about runs of the job; None if it is about something else."""
        with self._lock:
            for run in self.runs:
                self._follow(run)
            if asked["JobName"] != self.job:
                return {"__type": "EntityNotFoundException", "Message": "no such job"}
            if operation == "StartJobRun":
                return self._start(asked.get("Arguments", {}))
            if operation == "GetJobRun":
                self.followed += 1
                (run,) = (run for run in self.runs if run.id == asked["RunId"])
                return {"JobRun": run.as_glue_says_it(self.job)}
            if operation == "GetJobRuns":
                return {"JobRuns": [run.as_glue_says_it(self.job) for run in self.runs]}
            if operation == "BatchStopJobRun":
                for run in self.runs:
                    if run.id in asked["JobRunIds"] and run.state == "RUNNING":
                        self._end(run)
                        run.state = "STOPPED"
                stopped = [{"JobName": self.job, "JobRunId": run} for run in asked["JobRunIds"]]
                return {"SuccessfulSubmissions": stopped, "Errors": []}
        return None

    def _start(self, arguments: dict[str, str]) -> dict[str, Any]:
        if any(run.state == "RUNNING" for run in self.runs):
            return {"__type": "ConcurrentRunsExceededException", "Message": "too many"}
        number = f"jr_{secrets.token_hex(8)}"
        printed = self.folder / f"{number}.txt"
        # What Glue gives a job, and no variable of Dagster's machine.
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "XDG_CACHE_HOME") if name in os.environ},
            "HOME": str(self.folder),
            "JAVA_HOME": str(find_java().home),
            "PYSPARK_PYTHON": sys.executable,
            "AWS_ENDPOINT_URL": self.moto,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [*self.command, *(part for argument in arguments.items() for part in argument)],
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.runs.append(JobRun(number, arguments, process, printed))
        self._began = time.monotonic()
        return {"JobRunId": number}

    def _follow(self, run: JobRun) -> None:
        if run.state != "RUNNING":
            return
        if self.expires or time.monotonic() - self._began > self.seconds:
            self._end(run)
            run.state = "EXPIRED" if self.expires else "TIMEOUT"
        elif (code := run.process.poll()) is not None:
            run.state = "FAILED" if code else "SUCCEEDED"
            run.error = f"SystemExit: {code}" if code else None
            self._keep_log(run)

    def _end(self, run: JobRun) -> None:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()

    def _keep_log(self, run: JobRun) -> None:
        logs = boto3.client(
            "logs", endpoint_url=self.moto, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
        )
        group, now = f"{LOG_GROUP}/error", int(time.time() * 1000)
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName=run.id)
        lines = run.printed.read_text(errors="replace").splitlines()[-200:]
        events = [{"timestamp": now, "message": line} for line in lines if line]
        if events:
            logs.put_log_events(logGroupName=group, logStreamName=run.id, logEvents=events)


def _spark_submit(folder: Path) -> list[str]:
    jars = class_path(MAVEN_CENTRAL, on_s3=True, on_postgresql=False)
    settings = {
        "spark.driver.extraClassPath": jars,
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.local.dir": str(folder),
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    }
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    conf = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    return [str(submit), "--master", "local[2]", "--driver-memory", "2g", *conf, str(_SCRIPT)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    jobs: GlueJobs

    def do_POST(self) -> None:
        """Answer what is about job runs, and have moto answer the rest."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = re.sub("^AWSGlue[.]", "", self.headers.get("X-Amz-Target", ""))
        answer = self.jobs.answer(operation, json.loads(body)) if operation.count("JobRun") else None
        if answer is None:
            return self._pass_on(body)
        if operation == "StartJobRun":
            time.sleep(self.jobs.answers_start_after)
        return self._send(400 if "__type" in answer else 200, json.dumps(answer).encode())

    def _pass_on(self, body: bytes) -> None:
        connection = HTTPConnection(urlsplit(self.jobs.moto).netloc)
        headers: Message = self.headers
        connection.request("POST", self.path, body, dict(headers.items()))
        found = connection.getresponse()
        self._send(found.status, found.read())
        connection.close()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name in the base class)
        """Say nothing."""
