"""Orders to a process that forks others, or that becomes another itself.

They go over a socket, one message each, with the descriptors that the process of the order is to have.
The first of them is the reading end of a pipe, its leave: the process begins when a byte arrives, and
ends when the pipe is closed without one. So an order that was given up has no effect, wherever those
who carry it out stand.
"""

import contextlib
import json
import os
import socket
import time

from child_processes import stat_fields
from event_loop import NEVER


class OrderLink:
    """Our end of the socket. Each order is answered soon, or whoever was to answer has ended."""

    def __init__(self, events, answer_s, hear, hung_up):
        """`hear` is told what does not answer an order. `hung_up` is called once."""
        self.events = events
        self.answer_s = answer_s
        self.hear = hear
        self.hung_up = hung_up
        self.orders = {}
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        events.add(self.ours.fileno(), self.receive)

    def is_theirs(self):
        """To be called when the other side has its end."""
        self.theirs.close()

    def take(self, order):
        """Returns whether it was asked for."""
        if not self.ours:
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
            socket.send_fds(self.ours, [json.dumps(message).encode()], descriptors)
        except OSError:
            return False  # it does not read, or the message is too long
        return True

    def next_deadline(self):
        return min((order.due for order in self.orders.values()), default=NEVER)

    def decline_all(self, why):
        for number in list(self.orders):
            self.decline(number, why)

    def decline(self, number, why):
        order = self.orders.pop(number, None)
        if order:
            order.close()
            order.declined(why)

    def receive(self, _=None):
        """Returns whether there was a message."""
        try:
            message = self.ours.recv(64 * 1024)
        except BlockingIOError:
            return False
        except OSError:
            message = b''
        if message:
            self.hear_message(json.loads(message))
        else:
            self.hang_up()
        return bool(message)

    def hear_message(self, said):
        if 'forked' in said:
            self.accept(said['id'], said['forked'])
        elif 'declined' in said:
            self.decline(said['id'], said['declined'])
        else:
            self.hear(said)

    def accept(self, number, pid):
        if number not in self.orders:
            return  # it was given up
        if not stat_fields(pid):
            self.decline(number, 'it has ended')
            return
        order = self.orders.pop(number)
        order.accepted(pid)
        with contextlib.suppress(BrokenPipeError):  # it has just ended, which its parent hears of
            os.write(order.leave, b'!')
        order.close()

    def hear_the_rest(self):
        while self.ours and self.receive():
            pass

    def hang_up(self):
        if not self.ours:
            return
        self.events.remove(self.ours.fileno())
        self.ours.close()
        self.ours = None
        self.theirs.close()
        self.decline_all('it has ended')
        self.hung_up()

    def forget(self):
        """In a fork, which has other business."""
        for order in self.orders.values():
            order.close()
        if self.ours:
            self.ours.close()
        self.theirs.close()


class Order:
    """One process to be had. `accepted` is called with its pid, or `declined` with the reason."""

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
