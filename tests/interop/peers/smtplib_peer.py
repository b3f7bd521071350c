"""Sends with smtplib what its first argument names; prints what the server offered as JSON."""

import json
import smtplib
import sys
from email.message import EmailMessage

SENDER = "sender@example.org"
MESSAGE = b"From: Sender <sender@example.org>\r\nSubject: smtplib\r\n\r\n.\r\nText\r\n"


def plain(client):
    client.sendmail(SENDER, ["user@example.com"], MESSAGE)


def utf8(client):
    message = MESSAGE.replace(b"smtplib", "gr\u00fc\u00dfe".encode())
    refused = client.sendmail(
        "s\u00e4nder@example.org",
        ["\u00fcser@example.com"],
        message,
        mail_options=["SMTPUTF8", "BODY=8BITMIME"],
    )
    assert refused == {}, refused


def eight_bit(client):
    message = MESSAGE + bytes(range(128, 256)) + b"\r\n"
    client.sendmail(
        SENDER, ["user@example.com"], message, mail_options=["BODY=8BITMIME"]
    )


def line_feeds(client):
    message = EmailMessage()
    message["From"] = SENDER
    message["Subject"] = "smtplib"
    message.set_content(".one dot\n..two dots\n.\nText\n")
    client.sendmail(SENDER, ["user@example.com"], message.as_bytes())


def dsn(client):
    client.sendmail(
        SENDER,
        ["user@example.com"],
        MESSAGE,
        mail_options=["RET=HDRS", "ENVID=QQ314159"],
        rcpt_options=[
            "NOTIFY=SUCCESS,FAILURE",
            "ORCPT=rfc822;user+2Btag@example.com",
        ],
    )


def many(client):
    names = [f"user{number}@example.com" for number in range(1000)]
    refused = client.sendmail(SENDER, names, MESSAGE)
    assert refused == {}, refused


def too_big(client):
    try:
        client.sendmail(SENDER, ["user@example.com"], MESSAGE * 1000)
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == 552, error
    else:
        raise AssertionError("The message was taken")
    client.sendmail(SENDER, ["user@example.com"], MESSAGE)


def commands(client):
    assert client.noop()[0] == 250
    assert client.vrfy("user@example.com")[0] in (250, 252)
    assert client.docmd("BOGUS")[0] == 500
    assert client.docmd("RCPT", "TO:<user@example.com>")[0] == 503
    assert client.docmd("MAIL", "FROM:<a@b")[0] == 501
    assert client.rset()[0] == 250
    client.sendmail(SENDER, ["user@example.com"], MESSAGE)


def main():
    name, port = sys.argv[1], int(sys.argv[2])
    with smtplib.SMTP(
        "127.0.0.1", port, local_hostname="client.example", timeout=20
    ) as client:
        code, _ = client.ehlo()
        assert code == 250, code
        globals()[name](client)
        print(json.dumps(client.esmtp_features))


main()
