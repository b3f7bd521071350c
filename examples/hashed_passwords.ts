/**
 * Users whose passwords are hashes, in hashes.json. Two kinds stand there: those of
 * ScramVerifier, and PBKDF2 as Django writes it. Other kinds, as bcrypt and Argon2,
 * are checked in the same place.
 *
 * ```sh
 * deno run -A examples/hashed_passwords.ts
 * ```
 *
 * The argument may be a port other than 2525. Where all hashes are verifiers, no
 * handler is needed, and clients need not send passwords: `accounts: new
 * AccountList(users)`.
 */

import { Certificate, MaildirStore, SmtpServer } from "@smtp/server";
import { type Credentials, ScramVerifier } from "@smtp/server/auth";
import { pbkdf2, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import users from "./hashes.json" with { type: "json" };

const hashes = new Map(Object.entries(users));

async function check(_: unknown, { username, password = "" }: Credentials) {
  // No password fits "*": an unknown user takes as long as one of that kind.
  const hash = hashes.get(username) ?? users["*"];
  if (/^SCRAM/.test(hash)) return ScramVerifier.parse(hash).verify(password);
  const [, rounds = "", salt = "", key = ""] = hash.split("$");
  const got = await promisify(pbkdf2)(password, salt, +rounds, 32, "sha256");
  return timingSafeEqual(got, Uint8Array.fromBase64(key));
}

const server = new SmtpServer({
  listen: `127.0.0.1:${Deno.args[0] ?? 2525}/submission`,
  certificate: await Certificate.selfSigned({ names: ["localhost"] }),
  store: new MaildirStore({ folder: "./mail" }),
  handlers: { onAuthenticate: check },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
