"""A standby as the fork server sees it: a process that was forked from a template before it is needed.

It becomes the shim of the next order without a fork. It belongs to no GPU, and has done nothing yet: it
ends with its template, with us, or when a file has changed since the template read it.
"""

import os

from child_processes import kill
from order_link import Order, OrderLink


class Standby:
    def __init__(self, events, answer_s, gone):
        """`gone` is called once: it became a shim, or has ended."""
        self.pid = None  # while it is being forked
        self.end = None
        self.link = OrderLink(events, answer_s, self.hear_news, gone)

    def order_for_itself(self):
        return Order(
            'standby', {'standby': True}, [self.link.theirs.fileno()], self.has_begun, self.end_it
        )

    def has_begun(self, pid):
        self.pid = pid
        self.link.is_theirs()

    def take(self, order):
        """Returns whether it was asked to become the shim of an order. It does so once: another order
        that comes before it has answered is declined then."""
        accepted = order.accepted

        def become(pid):
            self.link.hang_up()
            accepted(pid)

        order.accepted = become
        return self.link.take(order)

    def meet_deadline(self, now):
        if now >= self.link.next_deadline():
            self.end_it()

    def hear_news(self, _):
        pass  # it answers, and has nothing to say

    def has_ended(self, end):
        self.end = end
        self.link.hang_up()  # even if it has just accepted: it cannot begin any more

    def end_it(self, _=None):
        if self.pid and not self.end:
            kill(os.kill, self.pid, 9)
        self.link.hang_up()
