"""A certificate authority of one's own, made with openssl."""

import os
import ssl
import subprocess

import server


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise server.Failed(f"openssl {arguments[0]}: {done.stderr}")
    return done.stdout


class Authority:
    """A certificate authority in a folder, and the pair that a server has."""

    def __init__(self, folder):
        self.folder = folder
        openssl("req", "-x509", *self.curve(), "-days", "30", "-subj", "/CN=test-ca",
                "-keyout", self.path("ca-key.pem"), "-out", self.path("ca.pem"))
        self.issue(1)

    @staticmethod
    def curve():
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def path(self, name):
        return f"{self.folder}/{name}"

    def issue(self, serial):
        """Puts a new pair into the server's files, each whole at once."""
        with open(self.path("names"), "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", *self.curve(), "-subj", "/CN=localhost", "-keyout", self.path("key.new"), "-out", self.path("request"))
        openssl("x509", "-req", "-in", self.path("request"), "-CA", self.path("ca.pem"), "-CAkey", self.path("ca-key.pem"),
                "-set_serial", str(serial), "-days", "30", "-extfile", self.path("names"), "-out", self.path("cert.new"))
        for name in ("key", "cert"):
            os.replace(self.path(f"{name}.new"), self.path(f"{name}.pem"))

    def context(self, version=None):
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        if version:
            context.minimum_version = context.maximum_version = version
        return context
