/** A TLS client that looks at the server's certificate and leaves. */

import { connect } from "node:tls";
import { within } from "../wait.ts";

/** The name in the certificate that a server shows to who asks for `servername`. */
export async function connectTls(
  port: number,
  servername: string,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({
    host: "127.0.0.1",
    port,
    servername,
    rejectUnauthorized: false,
  });
  const closed = new Promise<void>((end) => socket.once("close", () => end()));
  socket.once("error", reject);
  socket.once("secureConnect", () => {
    const { subjectaltname = "" } = socket.getPeerCertificate();
    resolve(subjectaltname.replace("DNS:", ""));
  });
  try {
    return await within(promise, "a TLS handshake");
  } finally {
    socket.destroy();
    await within(closed, "the end of a TLS connection");
  }
}
