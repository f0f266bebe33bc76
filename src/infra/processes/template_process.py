"""A template as the fork server sees it: a process that has loaded, and is forked on order.

Orders go to it over a socket, one message each, with the descriptors that the forked process is to
have. The first of them is the reading end of a pipe, its leave: the process begins when a byte
arrives, and ends when the pipe is closed without one. So an order that was given up has no effect,
wherever the template or the process stands. The process between the template and the forked one
waits for the same pipe. When it ends, the forked process becomes our child.
"""

import json
import os
import socket
import time

from child_processes import kill
from event_loop import NEVER
from tool_process import Tool, spawn

NOT_READY = 'the template is not ready'
ANSWER_S = 2  # after two forks, which take milliseconds
FORK_S_PER_GIB = 0.2  # of private memory in small pages: 0.04 to 0.08 s were measured
ROOM = ' ' * 4_000  # for what `ps` shows of its forks: the command line of a generation
SOCKET = 3  # its number there


class Template(Tool):
    """Tells what it has to say about itself through `tell`, and nothing twice."""

    def __init__(self, number, events, settle, tell, argv, env):
        self.tell = tell
        self.orders = {}
        self.is_loaded = False
        self.answer_s = ANSWER_S
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def start(stdout, stderr):
            given = {**env, 'WAN_TEMPLATE_PARENT': str(os.getpid())}
            return spawn([*argv, ROOM], given, (stdout, 1), (stderr, 2), (theirs.fileno(), SOCKET))

        try:
            Tool.__init__(self, number, events, settle, start)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self.socket = ours
        self.say({'environment': env})
        events.add(ours.fileno(), self.receive)

    # Orders

    def take(self, order):
        """Returns whether it was asked for a fork. It answers soon, or has ended."""
        if not self.is_loaded or self.end:
            return False
        leave, given = os.pipe()
        try:
            is_sent = self.say({'id': order.id, **order.message}, leave, *order.descriptors)
        finally:
            os.close(leave)
        if not is_sent:
            os.close(given)
            return False
        order.leave = given
        order.due = time.monotonic() + self.answer_s
        self.orders[order.id] = order
        return True

    def say(self, message, *descriptors):
        try:
            socket.send_fds(self.socket, [json.dumps(message).encode()], descriptors)
        except OSError:
            return False  # it does not read, or the message is too long
        return True

    def next_deadline(self):
        return min((order.due for order in self.orders.values()), default=NEVER)

    def meet_deadline(self):
        if time.monotonic() >= self.next_deadline():
            self.give_up('it did not answer')

    def give_up(self, why):
        kill(os.kill, self.pid, 9)
        self.decline_all(why)

    def decline_all(self, why):
        for number in list(self.orders):
            self.decline(number, why)

    def decline(self, number, why):
        order = self.orders.pop(number, None)
        if order:
            order.close()
            order.declined(why)

    # Answers

    def receive(self, _):
        """Returns whether there was a message."""
        try:
            message = self.socket.recv(64 * 1024)
        except BlockingIOError:
            return False
        except OSError:
            message = b''
        if message:
            self.hear_message(message)
        else:
            self.hang_up()
        return bool(message)

    def hear_message(self, message):
        said = json.loads(message)
        if 'forked' in said:
            self.forked(said['id'], said['forked'])
        elif 'declined' in said:
            self.decline(said['id'], said['declined'])
        elif said.get('template') == 'ready':
            self.is_loaded = True
            self.answer_s = ANSWER_S + FORK_S_PER_GIB * said['privateBytes'] / 2**30
            self.tell({'id': self.id, **said, 'answerMs': round(self.answer_s * 1000)})
        else:
            self.tell({'id': self.id, **said})

    def forked(self, number, pid):
        order = self.orders.pop(number, None)
        if not order:
            return  # it was given up
        order.accepted(pid)
        os.write(order.leave, b'!')
        order.close()

    def hang_up(self):
        if self.socket:
            self.events.remove(self.socket.fileno())
            self.socket.close()
            self.socket = None
        self.decline_all('it has ended')

    def has_ended(self, end):
        while self.socket and self.receive(None):
            pass  # its last words
        Tool.has_ended(self, end)
        self.is_loaded = False
        self.hang_up()

    def forget(self):
        Tool.forget(self)
        for order in self.orders.values():
            order.close()
        if self.socket:
            self.socket.close()


class Probe(Tool):
    """A process that a template forks to try out whether its forks can use a GPU."""

    def __init__(self, order, events, settle, template, begun, declined):
        def accepted(pid):
            self.pid = pid
            begun(self)

        def give_up(why):
            self.close_pipes()
            declined(why)

        def start(stdout, stderr):
            message = {'probe': True, 'env': order['env']}
            given = Order(order['id'], message, [stdout, stderr], accepted, give_up)
            if not isinstance(template, Template) or not template.take(given):
                raise OSError(None, NOT_READY)
            return None

        Tool.__init__(self, order['id'], events, settle, start)

    def close_pipes(self):
        for fd in list(self.pipes):
            self.events.remove(fd)
            os.close(fd)
        self.pipes = {}


class Order:
    """One process to be forked. `accepted` is called with its pid, or `declined` with the reason."""

    def __init__(self, number, message, descriptors, accepted, declined):
        self.id = number
        self.message = message
        self.descriptors = descriptors
        self.accepted = accepted
        self.declined = declined
        self.leave = None
        self.due = NEVER

    def close(self):
        os.close(self.leave)
