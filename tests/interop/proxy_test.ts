/**
 * Proxies: HAProxy and swaks name the client by PROXY headers.
 *
 * {@link https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt | The PROXY protocol}
 */

import {
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertStringIncludes,
} from "@std/assert";
import { InteropServer, readMaildir } from "../support/interop/server.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { freePort } from "../support/interop/relay_peers.ts";
import { TestFolder } from "../support/folder.ts";

/** Adds the session's facts about the proxy to each message. */
const HANDLERS = `
export default {
  onHeaders({ proxy, localPort }, _message, headers) {
    const { version, command, authority, tls, tlvs } = proxy;
    const id = tlvs.find(({ type }) => type === 5)?.value;
    const told = { version, command, authority, tls, localPort };
    headers.set("X-Proxy", JSON.stringify(told));
    if (id) headers.set("X-Unique-Id", new TextDecoder().decode(id));
  },
};
`;

async function start(cwd: string): Promise<InteropServer> {
  await Deno.writeTextFile(`${cwd}/handlers.ts`, HANDLERS);
  return await InteropServer.start(
    ["--proxy-protocol", "127.0.0.1", "--handlers", "handlers.ts"],
    { cwd, listeners: ["smtp"] },
  );
}

/** Sends a message to a port with swaks. */
async function swaks(port: number, ...flags: string[]): Promise<string> {
  const { stdout } = await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(port)],
    ...["--ehlo", "client.example", "--from", "sender@example.org"],
    ...["--to", "user@example.com", ...flags],
  ]);
  return stdout;
}

/** The only message that has come, its folded lines as one. */
async function onlyMessage(cwd: string): Promise<string> {
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, 1);
  return stored[0]!.replaceAll(/\r?\n[ \t]+/g, " ");
}

for (const way of ["v1", "v2"] as const) {
  Deno.test(`HAProxy tells the client by PROXY ${way}`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await start(cwd);
    await using proxy = await startHaProxy({ folder: cwd, port: server.port });
    await swaks(proxy.ports[way], "--local-interface", "127.0.0.9");
    const message = await onlyMessage(cwd);
    assertMatch(
      message,
      /^Received: from client\.example \(\[127\.0\.0\.9\]\)/m,
    );
    assertStringIncludes(
      message,
      `X-Proxy: {"version":${way.slice(1)},"command":"PROXY","localPort":${
        proxy.ports[way]
      }}`,
    );
  });
}

Deno.test("HAProxy ends TLS and tells of it, with a checksum", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await start(cwd);
  await using proxy = await startHaProxy({ folder: cwd, port: server.port });
  await swaks(
    proxy.ports.tls,
    ...["--tls-on-connect", "--tls-sni", "mx.test"],
    ...["--local-interface", "127.0.0.9"],
  );
  const message = await onlyMessage(cwd);
  assertStringIncludes(message, "([127.0.0.9])");
  const told = JSON.parse(/^X-Proxy: (.*)$/m.exec(message)?.[1] ?? "");
  assertEquals(told.authority, "mx.test");
  assertMatch(told.tls.protocol, /^TLSv1\.[23]$/);
  assertEquals(told.tls.verified, false);
  assertMatch(message, /^X-Unique-Id: \S*7F000009/m);
});

const SWAKS: [name: string, flags: string[], want: string][] = [
  [
    "1",
    ["--proxy-family", "TCP4", "--proxy-source", "192.0.2.7"],
    "[192.0.2.7]",
  ],
  [
    "1 and IPv6",
    ["--proxy-family", "TCP6", "--proxy-source", "2001:db8::7"],
    "[IPv6:2001:db8::7]",
  ],
  [
    "2",
    [
      ...["--proxy-version", "2", "--proxy-family", "AF_INET"],
      ...["--proxy-source", "192.0.2.7"],
    ],
    "[192.0.2.7]",
  ],
];

for (const [name, flags, want] of SWAKS) {
  Deno.test(`swaks tells the client by PROXY version ${name}`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await start(cwd);
    const destination = want.includes("IPv6") ? "2001:db8::2" : "192.0.2.2";
    await swaks(
      server.port,
      ...[...flags, "--proxy-source-port", "40000"],
      ...["--proxy-dest", destination, "--proxy-dest-port", "25"],
    );
    const message = await onlyMessage(cwd);
    assertStringIncludes(message, `Received: from client.example (${want})`);
    assertMatch(message, /"localPort":25\}/);
  });
}

Deno.test("swaks gets no word after a malformed PROXY header", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await start(cwd);
  const { code, stdout } = await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(server.port)],
    ...["--to", "user@example.com", "--proxy", "TCP4 192.0.2.7 x 1 2"],
  ], { anyCode: true });
  assertEquals(code === 0, false);
  assertNotMatch(stdout, /^<[-~*]+ +\d/m);
});

/** The ways, by name: options of the `server` line of the backend. */
const WAYS = {
  v1: "send-proxy",
  v2: "send-proxy-v2",
  tls: "send-proxy-v2 proxy-v2-options ssl,cert-cn,crc32c,unique-id,authority",
} as const;

/** A running HAProxy. */
export interface HaProxy extends AsyncDisposable {
  /** The ports by way; `tls` speaks TLS from the first byte. */
  readonly ports: Readonly<Record<keyof typeof WAYS, number>>;
}

/** Starts one in front of the port of a server; resolves when its health check has passed. */
async function startHaProxy(
  options: { readonly folder: string; readonly port: number },
): Promise<HaProxy> {
  const { folder, port } = options;
  const certificate = await Certificate.selfSigned({ names: ["mx.test"] });
  const pem = `${folder}/haproxy.pem`;
  await Deno.writeTextFile(pem, certificate.toPem() + certificate.keyPem());
  const ports = {
    v1: freePort(["127.0.0.1"]),
    v2: freePort(["127.0.0.1"]),
    tls: freePort(["127.0.0.1"]),
  };
  const path = `${folder}/haproxy.cfg`;
  await Deno.writeTextFile(path, configuration({ ports, pem, port }));
  const process = BackgroundProcess.start("haproxy", ["-db", "-f", path]);
  try {
    await process.waitFor((text) =>
      /Health check for server v2\/mx succeeded.*Layer7/.test(text)
        ? true
        : undefined
    );
  } catch (error) {
    await process.stop();
    throw error;
  }
  return {
    ports,
    async [Symbol.asyncDispose]() {
      await process.stop();
    },
  };
}

function configuration(
  init: {
    readonly ports: HaProxy["ports"];
    readonly pem: string;
    readonly port: number;
  },
): string {
  const { ports, pem, port } = init;
  const listeners = (Object.keys(WAYS) as (keyof typeof WAYS)[]).map((way) => `
listen ${way}
  bind 127.0.0.1:${ports[way]}${way === "tls" ? ` ssl crt ${pem}` : ""}
  option smtpchk EHLO haproxy.test
  unique-id-format %{+X}o\\ %ci:%cp
  server mx 127.0.0.1:${port} check inter 1s check-send-proxy ${WAYS[way]}
`);
  return `
global
  log stdout format raw local0
  maxconn 100
defaults
  log global
  mode tcp
  option log-health-checks
  timeout connect 5s
  timeout client 30s
  timeout server 30s
${listeners.join("")}`;
}
