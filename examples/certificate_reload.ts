/**
 * Takes a renewed certificate into use when certbot, lego or another program
 * writes its files. New connections get it; open sessions go on with the old one.
 *
 * ```sh
 * deno run -A examples/certificate_reload.ts 2525 /etc/letsencrypt/live/mx.example.com
 * ```
 */

import { MaildirStore, SmtpServer } from "@smtp/server";
import { CertificateSource } from "@smtp/server/tls";

const [port = "2525", folder = "."] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  store: new MaildirStore({ folder: "./mail" }),
  // While one file is new and the other is old, the old pair stays.
  certificate: await CertificateSource.watch({
    certificateFile: `${folder}/fullchain.pem`,
    keyFile: `${folder}/privkey.pem`,
  }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
