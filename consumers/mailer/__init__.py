"""The mailer: consumes `wallet-notifications` and sends each customer the mail with the deposit address.

    intake       topic → deliveries (in one transaction with the partition's place)
    queue_watch  orders that wait → deliveries of their own kind, where the settings ask for it
    dispatch     due deliveries → mails → outcomes (leases, so that any number of mailers share the work)
    letters      what a mail says → its bytes
    dead_letters what was refused → its topic

What this folder offers: `run_mailer`; for previews also `letters`, with `samples` of them.
"""

from consumers.mailer.handler import run_mailer

__all__ = ["run_mailer"]
