/**
 * Users whose passwords are hashes, in hashes.json. Two kinds stand there: those of
 * ScramVerifier, and PBKDF2 as Django writes it. With both, clients need not send
 * their passwords. All have the same number of rounds and the same length of salt,
 * so that no answer reveals which names exist.
 *
 * ```sh
 * deno run -A examples/hashed_passwords.ts
 * ```
 *
 * The argument may be a port other than 2525. For hashes that are not PBKDF2 with
 * SHA-256, as bcrypt and Argon2, see the guide of `@smtp/server/auth`.
 */

import { Certificate, MaildirStore, SmtpServer } from "@smtp/server";
import { AccountList, ScramVerifier } from "@smtp/server/auth";
import users from "./hashes.json" with { type: "json" };

const accounts = Object.entries(users).map(([name, hash]) => {
  const [kind, rounds, text, key = ""] = hash.split("$");
  if (kind === "SCRAM-SHA-256") return `${name}:${hash}`;
  const salt = new TextEncoder().encode(text);
  const saltedPassword = Uint8Array.fromBase64(key);
  const kept = { iterations: Number(rounds), salt, saltedPassword };
  return `${name}:${ScramVerifier.fromSaltedPassword(kept)}`;
});
const server = new SmtpServer({
  listen: `127.0.0.1:${Deno.args[0] ?? 2525}/submission`,
  certificate: await Certificate.selfSigned({ names: ["localhost"] }),
  store: new MaildirStore({ folder: "./mail" }),
  accounts: new AccountList(accounts),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
