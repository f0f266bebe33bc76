"""Clients of a shim: the socket, and the JSON lines on it."""

import json
import os
import socket

LONGEST_LINE = 64 * 1024
MOST_CLIENTS = 64


class Clients:
    """Whoever is connected to the socket. Nobody there can block or break the shim: those who talk
    nonsense, or do not read what they are sent, are dropped."""

    def __init__(self, events, greeting, obey):
        self.events = events
        self.greeting = greeting
        self.obey = obey
        self.listener = None
        self.connected = {}  # the oldest first
        self.begun = {}  # the line each of them has not ended yet

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.setblocking(False)
        self.listener.bind('ctl.sock')
        os.chmod('ctl.sock', 0o600)
        self.listener.listen(MOST_CLIENTS)
        self.events.add(self.listener.fileno(), self.accept)

    def accept(self, _):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # it has hung up by now
        if len(self.connected) == MOST_CLIENTS:
            self.drop(next(iter(self.connected)))  # the newest is the likeliest to be the service
        client.setblocking(False)
        fd = client.fileno()
        self.connected[fd] = client
        self.begun[fd] = b''
        self.events.add(fd, self.receive)
        for message in self.greeting():
            self.tell(fd, message)

    def receive(self, fd):
        try:
            received = self.connected[fd].recv(LONGEST_LINE)
        except BlockingIOError:
            return  # the event was for a client that was dropped, and this one has its number now
        except OSError:
            received = b''
        if not received:
            self.drop(fd)
            return
        *lines, self.begun[fd] = (self.begun[fd] + received).split(b'\n')
        try:
            if len(self.begun[fd]) > LONGEST_LINE:
                raise ValueError('overlong')
            for line in lines:
                answer = self.obey(parse_command(line))
                if answer:
                    self.tell(fd, answer)
        except ValueError:
            self.drop(fd)

    def tell(self, fd, message):
        if fd not in self.connected:
            return
        line = json.dumps(message).encode() + b'\n'
        try:
            sent = self.connected[fd].send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.drop(fd)

    def tell_all(self, message):
        for fd in list(self.connected):
            self.tell(fd, message)

    def drop(self, fd):
        if fd in self.connected:
            self.events.remove(fd)
            self.connected.pop(fd).close()
            del self.begun[fd]

    def close(self):
        for fd in list(self.connected):
            self.drop(fd)
        if self.listener:
            self.listener.close()
            try:
                os.unlink('ctl.sock')
            except OSError:
                pass  # it has been deleted, or could not be made


def parse_command(line):
    """Raises ValueError for whatever is not a command."""
    if len(line) > LONGEST_LINE:
        raise ValueError('overlong')
    try:
        command = json.loads(line)
    except RecursionError:
        raise ValueError('too deep')
    if not isinstance(command, dict):
        raise ValueError('not an object')
    op, grace_ms, reason = command.get('op'), command.get('graceMs'), command.get('reason')
    if op == 'stop':
        if not isinstance(grace_ms, (int, float)) or not grace_ms >= 0:  # nor is NaN
            raise ValueError('no grace')
        if not isinstance(reason, (str, type(None))):
            raise ValueError('no reason')
    return {'op': op, 'graceMs': grace_ms, 'reason': reason}
