/** STARTTLS upgrades against OpenSSL, in both roles (RFC 3207). */

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  upgradeClient,
  upgradeServer,
  type UpgradeServerOptions,
} from "../../lib/net/tls_upgrade.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CertificateSet } from "../../lib/tls/set.ts";
import { connTransport } from "../support/tls.ts";
import { hasOpenssl, openssl } from "../support/interop/openssl.ts";
import { TestFolder } from "../support/folder.ts";

const ignore = !hasOpenssl;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const one = await Certificate.selfSigned({ names: ["one.example"] });
const two = await Certificate.selfSigned({
  names: ["two.example"],
  algorithm: "rsa-2048",
});

/** Reads text until it ends in `ending`. */
async function readUntil(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  ending: string,
): Promise<string> {
  let text = "";
  while (!text.endsWith(ending)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`It ended after ${JSON.stringify(text)}`);
    text += decoder.decode(value);
  }
  return text;
}

/** The server's view of a run of `openssl s_client`, and the output of the run. */
interface Meeting {
  server: Transport | Error;
  text: string;
  code: number;
}

/** Runs `openssl s_client`: it sends a line, gets it back, and both sides close. */
async function meet(
  args: readonly string[],
  options: Partial<UpgradeServerOptions> = {},
): Promise<Meeting> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    try {
      const server = await upgradeServer(
        connTransport(await listener.accept()),
        { certificates: one, handshakeTimeoutMs: 60_000, ...options },
      );
      const buffer = new Uint8Array(100);
      const count = await server.read(buffer);
      await server.write(encoder.encode("250 "));
      await server.write(buffer.slice(0, count ?? 0));
      server.close();
      return server;
    } catch (error) {
      return error as Error;
    }
  })();
  const { text, code } = await openssl([
    ...["s_client", "-connect", `127.0.0.1:${listener.addr.port}`],
    ...["-ign_eof", "-nocommands", ...args],
  ], "NOOP\r\n");
  return { server: await serving, text, code };
}

function secured(meeting: Meeting): Transport {
  if (meeting.server instanceof Error) throw meeting.server;
  return meeting.server;
}

Deno.test({
  name: "upgradeServer() talks to openssl s_client over TLS 1.2 and 1.3",
  ignore,
  async fn() {
    for (const certificates of [one, two]) {
      for (const version of ["1_2", "1_3"]) {
        const met = await meet([`-tls${version}`, "-noservername"], {
          certificates,
        });
        const { tls } = secured(met);
        assert(met.text.includes("250 NOOP"), met.text);
        assertEquals(met.code, 0, met.text);
        assertEquals(tls?.protocol, `TLSv${version.replace("_", ".")}`);
        assertEquals(tls?.serverName, undefined);
        const suite = version === "1_3"
          ? /^TLS_(AES|CHACHA20)/
          : /^TLS_ECDHE_(ECDSA|RSA)_WITH_/;
        assert(suite.test(tls?.cipher ?? ""), tls?.cipher);
      }
    }
  },
});

Deno.test({
  name: "upgradeServer() goes on when openssl s_client changes the keys",
  ignore,
  async fn() {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using child = new Deno.Command("openssl", {
      args: [
        ...["s_client", "-quiet", "-no_ign_eof", "-tls1_3"],
        ...["-connect", `127.0.0.1:${listener.addr.port}`],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const server = await upgradeServer(
      connTransport(await listener.accept()),
      { certificates: one, handshakeTimeoutMs: 60_000 },
    );
    const typing = child.stdin.getWriter();
    const replies = child.stdout.getReader();
    const notes = child.stderr.getReader();
    const buffer = new Uint8Array(100);
    // "K" asks the server for new keys, too; "k" does not.
    for (const key of ["K", "k", "K", "K"]) {
      await typing.write(encoder.encode(`${key}\n`));
      // `s_client` loses a command that it reads together with the key.
      await readUntil(notes, "KEYUPDATE\n");
      await typing.write(encoder.encode("NOOP\n"));
      const count = await server.read(buffer);
      assertEquals(decoder.decode(buffer.subarray(0, count!)), "NOOP\n");
      await server.write(encoder.encode("250 OK\n"));
      await server.write(encoder.encode("250 again\n"));
      const text = await readUntil(replies, "again\n");
      assertEquals(text, "250 OK\n250 again\n");
    }
    server.close();
    await typing.close().catch(() => {});
    assertEquals((await replies.read()).done, true);
    await notes.cancel();
  },
});

Deno.test({
  name: "upgradeServer() refuses what is older or weaker than its policy",
  ignore,
  async fn() {
    const rows: [string[], Partial<UpgradeServerOptions>][] = [
      [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], {}],
      [["-tls1", "-cipher", "ALL:@SECLEVEL=0"], {}],
      [["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], {}],
      [["-tls1_2", "-cipher", "AES128-GCM-SHA256"], { certificates: two }],
      [["-tls1_2"], { minVersion: "TLSv1.3" }],
    ];
    for (const [args, options] of rows) {
      const { server, code } = await meet(args, options);
      assert(server instanceof Deno.errors.ConnectionAborted, args.join(" "));
      assert(code !== 0);
    }
  },
});

Deno.test({
  name: "upgradeServer() gives openssl s_client the certificate it asks for",
  ignore,
  async fn() {
    const certificates = new CertificateSet([one, two]);
    for (const name of ["one.example", "two.example"]) {
      const met = await meet(["-servername", name], { certificates });
      assertEquals(secured(met).tls?.serverName, name);
      assert(met.text.includes(`subject=CN = ${name}`), met.text);
    }
  },
});

Deno.test({
  name: "upgradeServer() sees the certificate of openssl s_client",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const cert = await folder.write("two.pem", two.toPem());
    const key = await folder.write("two.key", two.keyPem());
    for (const version of ["-tls1_2", "-tls1_3"]) {
      for (const trusted of [[two], [one]]) {
        const met = await meet([version, "-cert", cert, "-key", key], {
          clientCertificate: { mode: "request", trusted },
        });
        const { tls } = secured(met);
        assertEquals(tls?.peerCertificate, two.der);
        assertEquals(tls?.authorized, trusted[0] === two);
      }
    }
  },
});

Deno.test({
  name: "upgradeClient() talks to openssl s_server",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const cert = await folder.write("one.pem", one.toPem());
    const key = await folder.write("one.key", one.keyPem());
    const child = new Deno.Command("openssl", {
      args: [
        ...["s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key],
        ...["-rev", "-naccept", "2", "-Verify", "1"],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    let output = "";
    const lines = child.stdout.pipeThrough(new TextDecoderStream());
    const reader = lines.getReader();
    while (!/ACCEPT .*:(\d+)\n/.test(output)) {
      const { value, done } = await reader.read();
      if (done) break;
      output += value;
    }
    const port = Number(/ACCEPT .*:(\d+)\n/.exec(output)?.[1]);
    const open = async () =>
      connTransport(await Deno.connect({ hostname: "127.0.0.1", port }));
    const { transport, certificate, authorizationError } = await upgradeClient(
      await open(),
      {
        serverName: "one.example",
        trusted: [one],
        clientCertificate: two,
        handshakeTimeoutMs: 60_000,
      },
    );
    assertEquals(authorizationError, undefined);
    assertEquals(certificate.fingerprint, one.fingerprint);
    await transport.write(encoder.encode("olleh\n"));
    const buffer = new Uint8Array(100);
    const count = await transport.read(buffer);
    assertEquals(decoder.decode(buffer.subarray(0, count ?? 0)), "hello\n");
    transport.close();
    // Without the required certificate, TLS 1.3 fails at the first read.
    await assertRejects(async () => {
      const { transport } = await upgradeClient(await open(), {
        serverName: "one.example",
        handshakeTimeoutMs: 60_000,
      });
      try {
        if (await transport.read(buffer) === null) throw new Error("End");
      } finally {
        transport.close();
      }
    });
    for (let done = false; !done;) ({ done } = await reader.read());
    await child.status;
  },
});
