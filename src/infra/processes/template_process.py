"""A template as the fork server sees it: a process that has loaded, and is forked on order.

The process between the template and the forked one waits for the same leave as that (order_link.py).
When it ends, the forked process becomes our child.
"""

import os
import time

from child_processes import kill
from event_loop import NEVER
from order_link import Order, OrderLink
from standby_process import Standby
from tool_process import Tool, spawn

NOT_READY = 'the template is not ready'
ANSWER_S = 2  # after two forks, which take milliseconds
FORK_S_PER_GIB = 0.2  # of private memory in small pages: 0.04 to 0.08 s were measured
ROOM = ' ' * 4_000  # for what `ps` shows of its forks: the command line of a generation
SOCKET = 3  # its number there

STANDBY_AFTER_S = 0.2  # a generation that has just been forked needs the CPU for itself
STANDBY_AGAIN_S = 10  # after one that has ended without an order, or could not be forked


def answer_within(private_bytes):
    """Seconds that a template has for the forks of an order."""
    return ANSWER_S + FORK_S_PER_GIB * private_bytes / 2**30


class Template(Tool):
    """Tells what it has to say about itself through `tell`, and nothing twice."""

    def __init__(self, number, events, settle, tell, argv, env, has_standby):
        self.tell = tell
        self.is_loaded = False
        self.has_standby = has_standby
        self.standby = None
        self.standby_due = NEVER
        self.link = OrderLink(events, ANSWER_S, self.hear_news, self.drop_standby)

        def start(stdout, stderr):
            given = {**env, 'WAN_TEMPLATE_PARENT': str(os.getpid())}
            socket = (self.link.theirs.fileno(), SOCKET)
            return spawn([*argv, ROOM], given, (stdout, 1), (stderr, 2), socket)

        try:
            Tool.__init__(self, number, events, settle, start)
        except BaseException:
            self.link.hang_up()
            raise
        self.link.is_theirs()
        self.link.say({'environment': env})

    def takers(self):
        """Those who can carry out an order for a shim, the fastest first."""
        return [*self.children(), self]

    def take(self, order):
        """Returns whether it was asked for a fork."""
        return self.is_loaded and not self.end and self.link.take(order)

    def next_deadline(self):
        theirs = self.standby.link.next_deadline() if self.standby else self.standby_due
        return min(self.link.next_deadline(), theirs)

    def meet_deadline(self):
        now = time.monotonic()
        if self.standby:
            self.standby.meet_deadline(now)
        elif now >= self.standby_due:
            self.have_standby()
        if now >= self.link.next_deadline():
            kill(os.kill, self.pid, 9)
            self.link.decline_all('it did not answer')

    def hear_news(self, said):
        if said['template'] == 'ready':
            self.is_loaded = True
            self.expect_standby(STANDBY_AFTER_S)
            self.link.answer_s = answer_within(said['privateBytes'])
            answer_s = self.link.answer_s + (ANSWER_S if self.has_standby else 0)
            said['answerMs'] = round(answer_s * 1000)
        self.tell({'id': self.id, **said})

    # Standby

    def has_forked(self):
        """A generation has just been forked from it, or from its standby."""
        self.expect_standby(STANDBY_AFTER_S)

    def expect_standby(self, after_s):
        if self.has_standby:
            self.standby_due = time.monotonic() + after_s

    def have_standby(self):
        self.standby_due = NEVER
        if self.end:
            return
        try:
            self.standby = Standby(self.events, ANSWER_S, self.standby_is_gone)
            if self.take(self.standby.order_for_itself()):
                return
        except OSError:
            pass  # we have no descriptor left
        if self.standby:
            self.standby.end_it()
        else:
            self.expect_standby(STANDBY_AGAIN_S)

    def standby_is_gone(self):
        self.standby = None
        self.expect_standby(STANDBY_AGAIN_S)  # sooner, if it became a shim: `has_forked`

    def drop_standby(self):
        if self.standby:
            self.standby.end_it()
        self.standby_due = NEVER

    # End

    def children(self):
        """Processes that are ours because of it, each with `pid`, `end` and `has_ended`."""
        return [self.standby] if self.standby and self.standby.pid else []

    def has_ended(self, end):
        self.link.hear_the_rest()  # its last words
        Tool.has_ended(self, end)
        self.is_loaded = False
        self.link.hang_up()

    def forget(self):
        Tool.forget(self)
        self.link.forget()
        if self.standby:
            self.standby.link.forget()


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
