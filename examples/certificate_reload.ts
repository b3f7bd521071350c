/**
 * Takes a renewed certificate into use when certbot, lego or another program
 * writes its files. New connections get it; open sessions go on with the old one.
 *
 * ```sh
 * deno run -A examples/certificate_reload.ts 2525 /etc/letsencrypt/live/mx.example.com
 * ```
 */

import { Certificate, MaildirStore, SmtpServer } from "@smtp/server";
import { CertificateSource } from "@smtp/server/tls";

const [port = "2525", folder = "."] = Deno.args;
const certificateFile = `${folder}/fullchain.pem`;
const keyFile = `${folder}/privkey.pem`;
const load = () => Certificate.load({ certificateFile, keyFile });
const certificate = new CertificateSource(await load());
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  store: new MaildirStore({ folder: "./mail" }),
  certificate,
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);

for await (const { kind } of Deno.watchFs(folder)) {
  if (kind === "access") continue; // That was load().
  // While one file is new and the other is old, the old pair stays.
  const renewed = await load().catch(({ message }) => console.warn(message));
  if (renewed) certificate.replace(renewed);
}
