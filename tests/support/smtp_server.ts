/** Servers of the adapter for programs of smtp-server. */

import {
  SMTPServer,
  type SMTPServerOptions,
} from "../../lib/smtp_server/mod.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { within } from "./wait.ts";

/** A running server, and its place in the form of this server's own. */
export interface Running extends AsyncDisposable {
  readonly server: SMTPServer;
  readonly port: number;
  readonly place: { address: string; port: number };
  /** For support functions that want a server. */
  readonly bound: SmtpServer;
}

/** Runs a server on a free port. */
export async function run(options: SMTPServerOptions): Promise<Running> {
  const server = new SMTPServer({ disableReverseLookup: true, ...options });
  await within(
    new Promise<void>((resolve, reject) => {
      server.on("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    }),
    "the listener",
  );
  const { port } = server.server.address() as { port: number };
  const place = { address: "127.0.0.1", port };
  return {
    ...{ server, port, place },
    bound: { addresses: [place] } as unknown as SmtpServer,
    [Symbol.asyncDispose]: async () => {
      server.options.closeTimeout = 1;
      await within(
        new Promise<void>((resolve) => server.close(resolve)),
        "the end of the server",
      );
    },
  };
}

/** An error of a callback. */
export function failure(responseCode: number | undefined, text: string): Error {
  return Object.assign(new Error(text), { responseCode });
}

/** A server that anyone may send to. */
export const OPEN: SMTPServerOptions = {
  authOptional: true,
  hideSTARTTLS: true,
};
