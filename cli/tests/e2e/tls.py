#!/usr/bin/env python3
"""TLS as the clients of others meet it: Python's ssl and websockets, curl's way of asking, and openssl s_client.

  tls.py
"""

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import urllib.request

from websockets.asyncio.client import connect

import server
from authority import Authority
from dev import Dev
from verdict import Verdict, eventually

verdict = Verdict()


def metrics(dev):
    with urllib.request.urlopen(f"http://{dev.addresses['ADMIN']}/metrics", timeout=10) as answer:
        return answer.read().decode()


def counted(dev, name, label=""):
    lines = (l for l in metrics(dev).splitlines() if l.startswith(name) and label in l)
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def conversation(dev, context, messages):
    host, port = dev.addresses["LISTEN"].rsplit(":", 1)
    async with connect(f"wss://{host}:{port}/v1/echo", ssl=context, compression=None, max_size=None) as ws:
        for message in messages:
            await ws.send(message)
            if await ws.recv() != message:
                return f"{len(message)} bytes came back changed"
        return ws.transport.get_extra_info("ssl_object").version()


def python_clients(dev, authority):
    messages = ["", "text", bytes(range(256)) * 64, b"x" * 70_000, b"y" * 3_000_000]
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        spoken = asyncio.run(conversation(dev, authority.context(version), messages))
        verdict.fact(spoken == name, f"messages up to 3 MB are echoed over {name}", spoken)
    host, port = dev.addresses["LISTEN"].rsplit(":", 1)
    page = http.client.HTTPSConnection(host, int(port), context=authority.context(), timeout=10)
    page.request("GET", "/")
    answer = page.getresponse()
    verdict.fact(answer.status == 200 and b"<html" in answer.read().lower(), "the page is there over https", answer.status)
    plain = http.client.HTTPConnection(host, int(port), timeout=10)
    plain.request("GET", "/")
    answer = plain.getresponse()
    verdict.fact(answer.status == 400 and b"wss://" in answer.read(), "http without TLS is told what to do", answer.status)


def exchange(dev, context, session=None):
    """One request over a socket of our own: the answer, the session to resume, whether it resumed, the certificate."""
    host, port = dev.addresses["LISTEN"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as bare:
        with context.wrap_socket(bare, server_hostname="localhost", session=session) as secure:
            secure.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while piece := secure.recv(4096):
                answer += piece
            return answer, secure.session, secure.session_reused, secure.getpeercert()


def resumption(dev, authority):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = authority.context(version)
        # Without close_notify of the server, `recv` would fail.
        answer, session, first, _ = exchange(dev, context)
        again = exchange(dev, context, session)[2]
        verdict.fact(answer.startswith(b"HTTP/1.1 404"), f"a request is answered and closed in order over {version.name}", answer)
        verdict.fact(not first and again, f"a session of {version.name} is resumed", (first, again))


def s_client(dev, authority):
    """openssl asks for new keys of both ends ("K"), then makes its request."""
    command = ["openssl", "s_client", "-connect", dev.addresses["LISTEN"], "-CAfile", authority.path("ca.pem"), "-servername",
               "localhost", "-alpn", "http/1.1", "-tls1_3"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""

    def until(word):
        nonlocal seen
        while word not in seen:
            piece = child.stdout.read1(4096)
            if not piece:
                return False
            seen += piece
        return True

    def say(text):
        child.stdin.write(text)
        child.stdin.flush()

    shaken = until(b"ALPN protocol: http/1.1") and until(b"Verify return code: 0 (ok)")
    verdict.fact(shaken, "s_client verifies the certificate and agrees on http/1.1", seen)
    say(b"K\n")
    until(b"KEYUPDATE")
    say(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    verdict.fact(until(b"HTTP/1.1 404 Not Found"), "a request after a key update is answered under new keys", seen[-300:])
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()


def listen_and_send(dev, authority):
    run = [server.binary(), "listen", "--data", dev.data, "--user", "alice", "--count", "1", "--timeout", "60s"]
    told = subprocess.run(run, capture_output=True, text=True, timeout=90)
    verdict.fact(told.returncode == 2 and "--ca" in told.stderr, "listen without --ca says what is missing", told.stderr)
    listening = subprocess.Popen([*run, "--ca", authority.path("ca.pem")], stdout=subprocess.PIPE, text=True)
    eventually(lambda: counted(dev, "pushgate_sessions{") >= 1)
    subprocess.run([server.binary(), "send", "--data", dev.data, "--user", "alice", "--title", "Hi"], check=True,
                   capture_output=True, timeout=60)
    out, _ = listening.communicate(timeout=90)
    verdict.fact(listening.returncode == 0 and out.startswith("Hi"), "a push reaches listen over wss", out)


def reload(dev, authority):
    async def standing():
        host, port = dev.addresses["LISTEN"].rsplit(":", 1)
        headers = {"Authorization": f"Bearer {dev.token('bob', 'phone')}"}
        async with connect(f"wss://{host}:{port}/v1/ws", ssl=authority.context(), additional_headers=headers) as ws:
            await ws.recv()
            authority.issue(77)
            dev.process.child.send_signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, lambda: counted(dev, "pushgate_tls_reloads_total", 'result="ok"') >= 1)
            await ws.send('{"type":"ping"}')
            return json.loads(await ws.recv())["type"]

    verdict.fact(asyncio.run(standing()) == "pong", "a session stands through a reload")
    certificate = exchange(dev, authority.context())[3]
    verdict.fact(int(certificate["serialNumber"], 16) == 77, "new clients get the new certificate", certificate)
    with open(authority.path("cert.pem"), "w", encoding="ascii") as file:
        file.write("not a certificate\n")
    dev.process.child.send_signal(signal.SIGHUP)
    eventually(lambda: counted(dev, "pushgate_tls_reloads_total", 'result="error"') >= 1)
    certificate = exchange(dev, authority.context())[3]
    verdict.fact(int(certificate["serialNumber"], 16) == 77, "a broken file leaves the old certificate in force", certificate)
    with open(dev.log, encoding="utf-8") as file:
        log = file.read()
    verdict.fact("certificates not reloaded" in log, "the log tells of it", log[-500:])
    with open(authority.path("key.pem"), encoding="ascii") as file:
        secret = file.read().splitlines()[1]
    verdict.fact(secret not in log, "no key is in the log")


def test():
    folder = tempfile.mkdtemp(prefix="pushgate-tls-")
    authority = Authority(folder)
    dev = Dev(folder, {"PUSHGATE__TLS__CERT": authority.path("cert.pem"), "PUSHGATE__TLS__KEY": authority.path("key.pem")})
    try:
        dev.start()
        python_clients(dev, authority)
        resumption(dev, authority)
        s_client(dev, authority)
        listen_and_send(dev, authority)
        reload(dev, authority)
        with open(dev.log, encoding="utf-8") as file:
            verdict.fact("wss://" in file.read(), "the banner says wss")
        errors = counted(dev, "pushgate_tls_session_errors_total")
        verdict.fact(errors == 0, "no session ended at a record", errors)
    finally:
        dev.process.stop()
        if not verdict.failed:
            shutil.rmtree(folder)


verdict.run(test)
