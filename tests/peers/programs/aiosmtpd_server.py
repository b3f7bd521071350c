"""aiosmtpd with its defaults: keeps each message as a file.

Arguments: host, port, largest message, certificate, key, folder ("" keeps nothing).
"""

import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP

host, port, size, cert, key, folder = sys.argv[1:]
count = 0


class Keep:
    async def handle_DATA(self, server, session, envelope):
        global count
        if folder:
            path = os.path.join(folder, str(count))
            count += 1
            with open(path + ".new", "wb") as file:
                file.write(envelope.original_content)
            os.rename(path + ".new", path + ".eml")
        return "250 OK"


context = None
if cert:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)


def session():
    return SMTP(
        Keep(),
        hostname="peer.test",
        data_size_limit=int(size),
        enable_SMTPUTF8=True,
        tls_context=context,
    )


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, host, int(port), backlog=512)
    await server.serve_forever()


asyncio.run(main())
