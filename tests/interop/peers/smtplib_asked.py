"""Submits messages with FUTURERELEASE, DELIVERBY and REQUIRETLS, and reads notices.

submit PORT OPTIONS: submits one message over STARTTLS with a login; prints what
the server offers of the three. notice FILE: reads a notice, and
prints its fields about the message and its first recipient.
"""

import email
import email.policy
import smtplib
import ssl
import sys


def submit(port, options):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", int(port), "client.example") as client:
        client.starttls(context=context)
        client.login("ann", "secret")
        client.ehlo()
        for name in ("futurerelease", "deliverby", "requiretls"):
            print(name, client.esmtp_features.get(name, "-").split(" ")[0])
        client.sendmail(
            "ann@near.test",
            ["bob@near.test", "you@dest.test"],
            "Subject: asked\r\n\r\nText\r\n",
            mail_options=options.split(),
        )


def notice(path):
    policy = email.policy.default
    with open(path, "rb") as file:
        message = email.message_from_binary_file(file, policy=policy)
    print(message.get_content_type(), message.get_param("report-type"))
    status = list(message.walk())[2]
    for block in status.get_payload():
        for name, value in block.items():
            print(f"{name}: {value}")


if sys.argv[1] == "submit":
    submit(*sys.argv[2:])
else:
    notice(sys.argv[2])
