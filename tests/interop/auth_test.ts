/**
 * Logging in to the command line's server over both kinds of TLS: curl and
 * nodemailer; certificates and accounts reread.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { assertEquals, assertMatch } from "@std/assert";
import {
  InteropServer,
  packageFlags,
  readMaildir,
  runNode,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { until } from "../support/wait.ts";
import { TestFolder } from "../support/folder.ts";

const CLI = new URL("../../cli.ts", import.meta.url).pathname;
const MESSAGE = "Subject: x\r\n\r\nText\r\n";
const LISTENERS = ["submission", "submissions"];

/** Makes a certificate for this machine with the command line, in place of the one that is there. */
async function makeCertificate(cwd: string): Promise<string[]> {
  const files = ["--cert", "cert.pem", "--key", "key.pem"];
  for (const name of ["cert.pem", "key.pem"]) {
    await Deno.remove(`${cwd}/${name}`).catch(() => {});
  }
  await run(Deno.execPath(), [
    ...["run", "-A", ...packageFlags, CLI, "certificate", "create"],
    ...["--name", "mx.test", "--name", "127.0.0.1", ...files],
  ], { cwd });
  return files;
}

/** A server with one account, on both kinds of TLS. */
async function startServer(cwd: string): Promise<InteropServer> {
  const files = await makeCertificate(cwd);
  await Deno.writeTextFile(`${cwd}/users`, "alice:open sesame\n");
  await Deno.writeTextFile(`${cwd}/message`, MESSAGE);
  return await InteropServer.start([
    ...[...files, "--users", "users", "--log", "json"],
  ], { cwd, listeners: LISTENERS });
}

/** Sends the message with curl, which verifies the certificate; gives its exit code. */
async function curl(
  cwd: string,
  url: string,
  login: readonly string[],
): Promise<number> {
  const { code } = await run("curl", [
    ...["-sS", "--ssl-reqd", "--cacert", `${cwd}/cert.pem`, "--url", url],
    ...["--mail-from", "a@example.org", "--mail-rcpt", "user@example.com"],
    ...[...login, "--upload-file", `${cwd}/message`],
  ], { anyCode: true });
  return code;
}

/** curl's exit code for a refused login. */
const LOGIN_DENIED = 67;

Deno.test("curl logs in over both kinds of TLS, and the log keeps the secret", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await startServer(cwd);
  const urls = [
    `smtp://127.0.0.1:${server.ports[0]}`,
    `smtps://127.0.0.1:${server.ports[1]}`,
  ];
  for (const url of urls) {
    for (const mechanism of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
      const options = ["--login-options", `AUTH=${mechanism}`, "--user"];
      assertEquals(
        await curl(cwd, url, [...options, "alice:open sesame"]),
        0,
        `${url} ${mechanism}`,
      );
    }
    for (const user of ["alice:open-sesame", "nobody:open sesame"]) {
      assertEquals(await curl(cwd, url, ["--user", user]), LOGIN_DENIED);
    }
    // A submission server accepts no mail before a login.
    assertEquals(await curl(cwd, url, []) === 0, false);
  }
  assertEquals((await readMaildir(`${cwd}/mail/user@example.com`)).length, 6);
  await server.stop();
  const { stdout, stderr } = server.process;
  assertMatch(stderr, /"event":"auth","message":"Logged in"/);
  assertMatch(
    stderr,
    /"user":"nobody","mechanism":"CRAM-MD5","result":"refused"/,
  );
  for (const secret of ["open sesame", btoa("\0alice\0open sesame")]) {
    assertEquals(`${stdout}${stderr}`.includes(secret), false);
    assertEquals(`${stdout}${stderr}`.includes(btoa(secret)), false);
  }
});

Deno.test("nodemailer logs in over both kinds of TLS", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await startServer(cwd);
  const { stdout } = await runNode("nodemailer_login_peer.cjs", [
    ...["127.0.0.1", ...server.ports, `${cwd}/cert.pem`],
  ]);
  const codes = (JSON.parse(stdout) as string[]).map((reply) =>
    reply.slice(0, 9)
  );
  const wanted = ["250 2.0.0", "250 2.0.0", "250 2.0.0", "535 5.7.8"];
  assertEquals(codes, [...wanted, ...wanted]);
  assertEquals((await readMaildir(`${cwd}/mail/user@example.com`)).length, 6);
});

Deno.test("A certificate and an account that are exchanged are in force without a restart", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await startServer(cwd);
  const url = `smtps://127.0.0.1:${server.ports[1]}`;
  const [old, changed] = ["alice:open sesame", "alice:changed"];
  assertEquals(await curl(cwd, url, ["--user", old]), 0);
  // curl trusts the new certificate alone from here on.
  await makeCertificate(cwd);
  await Deno.writeTextFile(`${cwd}/users`, `${changed}\n`);
  Deno.kill(server.process.pid, "SIGHUP");
  await until(() => server.process.stderr.includes("Reread certificates"), {
    seen: () => server.process.stderr,
  });
  assertEquals(await curl(cwd, url, ["--user", changed]), 0);
  assertEquals(await curl(cwd, url, ["--user", old]), LOGIN_DENIED);
});
