/**
 * A submission server: users log in under TLS, write from their own addresses only,
 * and the server relays what they send, within limits for each user.
 *
 * ```sh
 * deno run -A examples/submission.ts 2525 fullchain.pem privkey.pem dkim.pem
 * ```
 *
 * Without the files of a certificate the server signs one itself, which clients
 * have to trust. Without a key for DKIM the mail is not signed; `cli.ts dkim create`
 * makes one, and the record that the DNS needs. Without arguments the port is 2525.
 */

import {
  AccountList,
  Certificate,
  MaildirStore,
  SmtpServer,
} from "@smtp/server";
import { ScramVerifier } from "@smtp/server/auth";

const [port = "2525", certificateFile, keyFile = "", dkimFile] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}/submission`,
  domains: ["example.com"],
  security: "required",
  certificate: certificateFile
    ? await Certificate.load({ certificateFile, keyFile })
    : await Certificate.selfSigned({ names: ["localhost"] }),
  // A verifier is enough to check a secret, but not to log in.
  accounts: new AccountList({
    "ann@example.com": {
      secret: await ScramVerifier.create("a secret of Ann"),
      addresses: ["info@example.com"],
    },
    "bob@example.com": await ScramVerifier.create("a secret of Bob"),
  }),
  senderPolicy: "own",
  limits: { perUser: { messagesPerMinute: 30, recipientsPerDay: 1000 } },
  relay: { allow: "authenticated", spool: "./spool" },
  dkim: dkimFile
    ? {
      ...{ domain: "example.com", selector: "s2026a" },
      key: await Deno.readTextFile(dkimFile),
    }
    : [],
  store: new MaildirStore({ folder: "./mail" }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
