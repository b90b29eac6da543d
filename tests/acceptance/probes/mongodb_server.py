"""A stand-in for MongoDB, which Debian does not have: the wire protocol as it is published (OP_MSG,
hello, SCRAM, a few commands), with the documents of pymongo. That it speaks the protocol is shown by
pymongo's own client.

    mongodb_server.py '{"port": 27017, "users": {"ann": ["SCRAM-SHA-256"]}, ...}'
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import socketserver
import ssl
import struct
import sys

import bson

settings = json.loads(sys.argv[1])
PASSWORD = "s3cret"
ROUNDS = 4096
HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class Refused(Exception):
    """The answer `ok: 0` with this code."""


def stored(user, mechanism):
    """What a server keeps of a password: a salt, and two keys that come of it."""
    password = PASSWORD
    if mechanism == "SCRAM-SHA-1":
        password = hashlib.md5(f"{user}:mongo:{PASSWORD}".encode()).hexdigest()
    name = HASHES[mechanism]
    salt = hashlib.new(name, user.encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, ROUNDS)
    client = hmac.digest(salted, b"Client Key", name)
    return salt, hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name)


def fields(text):
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


class Login:
    def __init__(self, mechanism, payload):
        self.mechanism = mechanism
        self.first = payload.split(",", 2)[2]
        self.user = fields(self.first)["n"].replace("=2C", ",").replace("=3D", "=")
        if mechanism not in settings["users"].get(self.user, []):
            raise Refused(18, "Authentication failed.")
        salt, self.stored_key, self.server_key = stored(self.user, mechanism)
        self.nonce = fields(self.first)["r"] + base64.b64encode(os.urandom(18)).decode()
        salt = base64.b64encode(salt).decode()
        self.challenge = f"r={self.nonce},s={salt},i={ROUNDS}"

    def finish(self, payload):
        name = HASHES[self.mechanism]
        without, _, proof = payload.rpartition(",p=")
        if fields(without)["r"] != self.nonce:
            raise Refused(18, "Authentication failed.")
        signed = ",".join([self.first, self.challenge, without]).encode()
        signature = hmac.digest(self.stored_key, signed, name)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if not hmac.compare_digest(hashlib.new(name, key).digest(), self.stored_key):
            raise Refused(18, "Authentication failed.")
        return "v=" + base64.b64encode(hmac.digest(self.server_key, signed, name)).decode()


class Session(socketserver.BaseRequestHandler):
    def handle(self):
        self.login, self.known = None, not settings.get("users")
        stream = self.request.makefile("rwb")
        while head := stream.read(16):
            length, number, _, kind = struct.unpack("<iiii", head)
            body = stream.read(length - 16)
            assert kind == 2013 and body[4] == 0, "only OP_MSG with one document"
            command = bson.decode(body[5 : length - 16])
            name = next(iter(command))
            try:
                answer = {**self.answer(name, command), "ok": 1.0}
            except Refused as refused:
                code, said = refused.args
                answer = {"ok": 0.0, "errmsg": said, "code": code, "codeName": "Refused"}
            reply = b"\0\0\0\0\0" + bson.encode(answer)
            stream.write(struct.pack("<iiii", 16 + len(reply), 1, number, 2013) + reply)
            stream.flush()

    def answer(self, name, command):
        old = settings.get("old")
        if name == ("isMaster" if old else "hello"):
            return self.hello(command, "ismaster" if old else "isWritablePrimary")
        if name == "saslStart":
            self.login = Login(command["mechanism"], command["payload"].decode())
            return {"conversationId": 1, "done": False, "payload": self.login.challenge.encode()}
        if name == "saslContinue":
            if self.known:
                return {"conversationId": 1, "done": True, "payload": b""}
            said = self.login.finish(command["payload"].decode())
            self.known = True
            # An old server wants another word.
            return {"conversationId": 1, "done": not old, "payload": said.encode()}
        answers = {
            "ping": lambda: {},
            "serverStatus": lambda: {"connections": {"current": 12, "available": 838848}, "host": "db"},
            "count": lambda: {"n": {"failed": 7, None: 42}[(command.get("query") or {}).get("state")]},
            "replSetGetStatus": self.status,
        }
        if name not in answers:
            raise Refused(59, f"no such command: '{name}'")
        if not self.known and name != "ping":
            raise Refused(13, f"command {name} requires authentication")
        return answers[name]()

    def hello(self, command, writes):
        role = settings.get("role", "primary")
        answer = {
            writes: role == "primary",
            "maxBsonObjectSize": 16777216,
            "maxMessageSizeBytes": 48000000,
            "maxWriteBatchSize": 100000,
            "localTime": datetime.datetime.now(datetime.timezone.utc),
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
        }
        if settings.get("set"):
            here = f"127.0.0.1:{settings['port']}"
            answer |= {"setName": settings["set"], "setVersion": 1, "secondary": role == "secondary"}
            answer |= {"hosts": [here], "me": here, "primary": here}
        if user := command.get("saslSupportedMechs"):
            known = settings.get("users", {}).get(user.partition(".")[2])
            answer |= {"saslSupportedMechs": known} if known else {}
        return answer

    def status(self):
        if not settings.get("set"):
            raise Refused(76, "not running with --replSet")
        now = datetime.datetime.now(datetime.timezone.utc)
        ago = lambda seconds: now - datetime.timedelta(seconds=seconds)
        members = [(1, 0), (2, 5), (2, 30)]
        if settings.get("role") == "secondary":
            members = members[1:]
        return {
            "set": settings["set"],
            "members": [
                {"_id": at, "health": 1.0, "state": state, "optimeDate": ago(late)}
                for at, (state, late) in enumerate(members)
            ]
            + [{"_id": 9, "health": 0.0, "state": 8, "optimeDate": datetime.datetime(1970, 1, 1)}],
        }


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def get_request(self):
        connection, address = super().get_request()
        if settings.get("cert"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings["cert"], settings["key"])
            connection = context.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, request, client_address):
        """Who hangs up early knows enough."""


Server(("127.0.0.1", settings["port"]), Session).serve_forever()
