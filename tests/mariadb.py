"""A real MariaDB server for tests, on a port and in a folder of its own."""

import getpass
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.machine import free_port

if TYPE_CHECKING:  # the driver needs MySQL's headers, which not everybody who runs tests has
    import MySQLdb

PASSWORD = "lasvegas"


class MariaDB:
    """A server; a context manager that stops it."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes]

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("mariadbd") is not None

    def create(self) -> None:
        """Makes the data folder, a user and the schema `reco`."""
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={self._folder}/data", "--skip-test-db"]
        install += [f"--user={getpass.getuser()}", "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, capture_output=True, timeout=120)
        self.start()
        with self.connect("", "root", "") as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE reco CHARACTER SET utf8mb4")
            cursor.execute(f"CREATE USER 'reco'@'%' IDENTIFIED BY '{PASSWORD}'")
            cursor.execute("GRANT ALL ON reco.* TO 'reco'@'%'")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        import MySQLdb

        command = ["mariadbd", "--no-defaults", f"--datadir={self._folder}/data", f"--port={self.port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={self._folder}/s", f"--user={getpass.getuser()}"]
        command += ["--innodb-buffer-pool-size=64M", "--skip-name-resolve"]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect("", "root", "").close()
                return
            except MySQLdb.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Stops the server, as a machine that goes down does."""
        self._process.terminate()
        self._process.wait(timeout=60)

    def empty(self) -> None:
        """Drops all tables."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE `{table}`")

    def connect(self, schema: str = "reco", user: str = "reco", password: str = PASSWORD) -> "MySQLdb.Connection":
        """A connection of the test's own."""
        import MySQLdb

        return MySQLdb.connect(host="127.0.0.1", port=self.port, user=user, passwd=password, db=schema, autocommit=True)

    @property
    def settings(self) -> dict[str, str]:
        """The keys of `.env` that name this server."""
        uri = f"127.0.0.1:{self.port}"
        return {"SQL_URI": uri, "SQL_USER": "reco", "SQL_PASS": PASSWORD, "SQL_SCHEMA": "reco"}

    @property
    def url(self) -> str:
        """The server as a SQLAlchemy URL."""
        return f"mysql+mysqldb://reco:{PASSWORD}@127.0.0.1:{self.port}/reco?charset=utf8mb4"

    def __enter__(self) -> "MariaDB":
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()
