/** A dnsmasq on a port of the loopback that knows only the records of the test. */

/** A dnsmasq that runs. */
export interface Dnsmasq extends AsyncDisposable {
  /** Its address, as a client takes it. */
  readonly nameServer: string;
}

/** Whether dnsmasq is installed here. */
export function hasDnsmasq(): boolean {
  try {
    const command = new Deno.Command("dnsmasq", { args: ["--version"] });
    return command.outputSync().success;
  } catch {
    return false;
  }
}

/** Starts a dnsmasq with further arguments, and waits until it answers. */
export async function startDnsmasq(args: readonly string[]): Promise<Dnsmasq> {
  const port = freePort();
  const child = new Deno.Command("dnsmasq", {
    args: [
      ...["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"],
      ...["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="],
      ...["--user=", `--port=${port}`, ...args],
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  await seeStarted(child.stderr);
  return {
    nameServer: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.status;
    },
  };
}

/** Reads the log up to the line that says that the ports are open. */
async function seeStarted(log: ReadableStream<Uint8Array>): Promise<void> {
  const lines: string[] = [];
  for await (const line of log.pipeThrough(new TextDecoderStream())) {
    lines.push(line);
    if (lines.join("").includes("started, version")) return;
  }
  throw new Error(`Cannot start dnsmasq: ${lines.join("")}`);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
