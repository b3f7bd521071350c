/** HAProxy in front of a server: a port for each way to tell whose a connection is. */

import { Certificate } from "../../../lib/tls/certificate.ts";
import { BackgroundProcess } from "../process.ts";
import { freePort } from "./relay_peers.ts";

/** The ways, by name: what stands on the line of the backend's server. */
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
export async function startHaProxy(
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
