/**
 * TLS and login as other programs see them: openssl, testssl.sh, curl, msmtp,
 * smtplib.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc8314 | RFC 8314},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  AccountList,
  Certificate,
  MemoryStore,
  SmtpServer,
  type SmtpServerOptions,
} from "../../mod.ts";
import type { Credentials } from "../../lib/sasl/auth.ts";
import { InteropServer, packageFlags } from "../support/interop/server.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

const CLI = new URL("../../cli.ts", import.meta.url).pathname;
const MESSAGE = "From: a@example.org\r\nSubject: x\r\n\r\nHello\r\n";

/** Makes a certificate with the command line; gives the options that use it. */
async function certificateOf(cwd: string, name: string): Promise<string[]> {
  const files = ["--cert", `${cwd}/${name}.pem`, "--key", `${cwd}/${name}.key`];
  await run(Deno.execPath(), [
    ...["run", "-A", ...packageFlags, CLI, "certificate", "create"],
    ...["--name", name, ...files],
  ]);
  return files;
}

/** The output of openssl about a handshake, with any exit code. */
async function handshake(args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command("openssl", {
    args: ["s_client", ...args],
    stdin: "null",
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("openssl gets the certificate of the name it asks for, and no TLS 1.1", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  const certificates = [
    ...await certificateOf(cwd, "one.example"),
    ...await certificateOf(cwd, "two.example"),
  ];
  await using server = await InteropServer.start(certificates, {
    cwd,
    listeners: ["smtp", "smtps"],
  });
  const [smtp, smtps] = server.ports;
  const ways = [
    ["-starttls", "smtp", "-connect", `127.0.0.1:${smtp}`],
    ["-connect", `127.0.0.1:${smtps}`],
  ];
  for (const way of ways) {
    for (const name of ["one.example", "two.example"]) {
      const seen = await handshake([...way, "-servername", name]);
      assertStringIncludes(seen, `subject=CN = ${name}`);
    }
    for (const version of ["-tls1", "-tls1_1"]) {
      // At its own level of security openssl would not even ask.
      const level = ["-cipher", "ALL@SECLEVEL=0"];
      const old = await handshake([...way, version, ...level]);
      assertStringIncludes(old, "alert handshake failure");
      assertStringIncludes(old, "Cipher is (NONE)");
    }
  }
});

Deno.test("testssl.sh finds no weak protocol and no weak cipher", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    await certificateOf(cwd, "mx.example"),
    { cwd },
  );
  const report = `${cwd}/report.json`;
  await run("testssl", [
    ...["--quiet", "--color", "0", "--starttls", "smtp", "-p", "-s"],
    ...["--jsonfile", report, `127.0.0.1:${server.port}`],
  ], { cwd });
  const findings: { id: string; severity: string; finding: string }[] = JSON
    .parse(await Deno.readTextFile(report));
  const bad = findings.filter(({ severity }) =>
    ["LOW", "MEDIUM", "HIGH", "CRITICAL"].includes(severity)
  );
  assertEquals(bad, []);
  const tls13 = findings.find(({ id }) => id === "TLS1_3");
  assertEquals(tls13?.severity, "OK");
});

Deno.test("msmtp logs in by SCRAM-SHA-256, and not with a wrong secret", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([
    ...["--self-signed", "--user", "bob:correct", "--quiet"],
    ...["--store", "file:eml"],
  ], { cwd, listeners: ["submission"] });
  const msmtp = (secret: string) =>
    new Deno.Command("msmtp", {
      args: [
        ...["--host=127.0.0.1", `--port=${server.port}`, "--tls=on"],
        ...["--tls-certcheck=off", "--auth=scram-sha-256", "--user=bob"],
        ...[`--passwordeval=echo ${secret}`, "--from=a@example.org"],
        "b@example.com",
      ],
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  for (const [secret, code] of [["correct", 0], ["wrong", 77]] as const) {
    const child = msmtp(secret);
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(MESSAGE));
    await writer.close();
    const output = await child.output();
    assertEquals(output.code, code, new TextDecoder().decode(output.stderr));
  }
  const stored = await Array.fromAsync(Deno.readDir(`${cwd}/eml`));
  assertEquals(stored.length, 1);
});

/** Starts a submission server in this process that collects its mail. */
async function startServer(
  options: SmtpServerOptions,
): Promise<{ server: SmtpServer; store: MemoryStore; port: number }> {
  const store = new MemoryStore();
  const server = new SmtpServer({
    listen: "127.0.0.1:0/submission",
    certificate: await Certificate.selfSigned({ names: ["localhost"] }),
    store,
    log: () => {},
    ...options,
  });
  await server.start();
  return { server, store, port: server.addresses[0]!.port };
}

for (const mechanism of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
  Deno.test(`curl logs in by ${mechanism}`, async () => {
    await using folder = await TestFolder.create();
    const { server, store, port } = await startServer({
      accounts: new AccountList({ bob: "correct" }),
    });
    await using _stop = server;
    const mail = `${folder.path}/mail`;
    await Deno.writeTextFile(mail, MESSAGE);
    await run("curl", [
      ...["-sS", "--ssl-reqd", "--insecure", `smtp://127.0.0.1:${port}`],
      ...["--user", "bob:correct", "--login-options", `AUTH=${mechanism}`],
      ...["--mail-from", "a@example.org", "--mail-rcpt", "b@example.com"],
      ...["--upload-file", mail],
    ]);
    assertEquals(store.messages.length, 1);
  });
}

for (const mechanism of ["XOAUTH2", "OAUTHBEARER"] as const) {
  Deno.test(`curl logs in by ${mechanism}, and not with a wrong token`, async () => {
    await using folder = await TestFolder.create();
    const seen: Credentials[] = [];
    const { server, store, port } = await startServer({
      mechanisms: [mechanism],
      handlers: {
        onAuthenticate(_session, credentials) {
          seen.push(credentials);
          return credentials.username === "bob@example.com" &&
            credentials.token === "good-token";
        },
      },
    });
    await using _stop = server;
    const mail = `${folder.path}/mail`;
    await Deno.writeTextFile(mail, MESSAGE);
    for (const [token, works] of [["good-token", true], ["bad", false]]) {
      const { code } = await new Deno.Command("curl", {
        args: [
          ...["-sS", "--ssl-reqd", "--insecure", `smtp://127.0.0.1:${port}`],
          ...["--user", "bob@example.com:", "--oauth2-bearer", String(token)],
          ...["--login-options", `AUTH=${mechanism}`],
          ...["--mail-from", "a@example.org", "--mail-rcpt", "b@example.com"],
          ...["--upload-file", mail],
        ],
        stdout: "null",
        stderr: "null",
      }).output();
      assertEquals(code === 0, works, String(token));
    }
    assertEquals(store.messages.length, 1);
    assert(seen.every((entry) => entry.mechanism === mechanism));
  });
}

Deno.test("msmtp logs in by EXTERNAL with its certificate", async () => {
  await using folder = await TestFolder.create();
  const own = await Certificate.selfSigned({ names: ["bob.example"] });
  const [cert, key] = [`${folder.path}/cert`, `${folder.path}/key`];
  await Deno.writeTextFile(cert, own.toPem());
  await Deno.writeTextFile(key, own.keyPem(), { mode: 0o600 });
  const { server, store, port } = await startServer({
    mechanisms: ["EXTERNAL"],
    clientCertificate: { mode: "request", trusted: [own] },
    handlers: {
      onAuthenticate: (_session, { certificate }) =>
        certificate !== undefined &&
        Certificate.fromDer(certificate).fingerprint === own.fingerprint,
    },
  });
  await using _stop = server;
  await run("msmtp", [
    ...["--host=127.0.0.1", `--port=${port}`, "--tls=on"],
    ...["--tls-certcheck=off", "--auth=external", "--user=bob"],
    ...[`--tls-cert-file=${cert}`, `--tls-key-file=${key}`],
    ...["--from=a@example.org", "b@example.com"],
  ], { input: MESSAGE });
  assertEquals(store.messages.length, 1);
});

Deno.test("smtplib logs in by CRAM-MD5, PLAIN and LOGIN", async () => {
  const { server, store, port } = await startServer({
    accounts: new AccountList({ bob: "correct" }),
  });
  await using _stop = server;
  const script = `
import smtplib, ssl
for name in ("CRAM-MD5", "PLAIN", "LOGIN"):
    with smtplib.SMTP("127.0.0.1", ${port}) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.ehlo()
        client.user, client.password = "bob", "correct"
        client.auth(name, getattr(client, "auth_" + name.lower().replace("-", "_")))
        client.sendmail("a@example.org", ["b@example.com"], "Subject: " + name + "\\r\\n\\r\\nHello\\r\\n")
`;
  await run("python3", ["-c", script]);
  assertEquals(
    store.messages.map((entry) => entry.headers.get("subject")),
    ["CRAM-MD5", "PLAIN", "LOGIN"],
  );
});
