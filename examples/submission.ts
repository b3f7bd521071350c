/**
 * A submission server: users log in under TLS and may use their own addresses
 * only. Here each recipient has a Maildir; with the option `relay` the server
 * relays the mail.
 *
 * ```sh
 * deno run -A examples/submission.ts
 * ```
 *
 * The argument may be a port other than 2525.
 */

import {
  AccountList,
  Certificate,
  MaildirStore,
  type SmtpHandlers,
  SmtpReply,
  SmtpServer,
} from "@smtp/server";
import { ScramVerifier } from "@smtp/server/auth";

/** Addresses that users may use besides their own. */
const FURTHER_ADDRESSES: ReadonlyMap<string, readonly string[]> = new Map([
  ["ann@example.com", ["info@example.com"]],
]);

// A verifier is enough to check a secret, but not to log in.
const accounts = new AccountList({
  "ann@example.com": await ScramVerifier.create("a secret of Ann"),
  "bob@example.com": await ScramVerifier.create("a secret of Bob"),
});

const handlers: SmtpHandlers = {
  onMailFrom(session, address) {
    const { username = "" } = session;
    const own = [username, ...FURTHER_ADDRESSES.get(username) ?? []];
    if (address.isNull || own.includes(address.toString())) return;
    return new SmtpReply(553, `Not an address of ${username}`, {
      enhanced: "5.7.1",
    });
  },
};

const [port = "2525"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}/submission`,
  // For a name of your own: Certificate.load({ certificateFile, keyFile }).
  certificate: await Certificate.selfSigned({ names: ["localhost"] }),
  security: "required",
  accounts,
  handlers,
  store: new MaildirStore({ folder: "./mail" }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
