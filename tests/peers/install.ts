/**
 * Where the mail servers of others are, and how they get there: packages of npm
 * and Debian, nothing else. A server that is missing is left out of the comparison;
 * no other test needs it.
 */

import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url);

/** The folder that holds what no package manager puts anywhere else. */
export const TOOLS: string = new URL(".ci/tools/servers", ROOT).pathname;

/** The programs of this folder that peers run in. */
export const PROGRAMS: string = new URL("tests/peers/programs", ROOT).pathname;

/** What `--install` asks of npm. */
const NPM = ["smtp-server@3.21.6", "Haraka@3.3.4"];

/** What `--install` asks of Debian. */
const DEBIAN = [
  ...["postfix", "python3-aiosmtpd", "golang-go"],
  ...[
    "golang-github-emersion-go-smtp-dev",
    "golang-github-emersion-go-sasl-dev",
  ],
];

/** Installs the peers; needs npm and, for those of Debian, root. */
export async function installPeers(): Promise<void> {
  const deadlineMs = 600_000;
  await Deno.mkdir(TOOLS, { recursive: true });
  await run("npm", [
    ...["install", "--prefix", TOOLS, "--no-audit", "--no-fund"],
    ...["--loglevel=error", ...NPM],
  ], { deadlineMs });
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["-q", "update"], { deadlineMs, env });
  // Not configured, it is not started either.
  await run("debconf-set-selections", [], {
    input: "postfix postfix/main_mailer_type select No configuration\n",
  });
  await run("apt-get", [
    ...["-q", "install", "-y", "--no-install-recommends", ...DEBIAN],
  ], { deadlineMs, env });
  await run("go", ["build", "-o", `${TOOLS}/go_smtp`, "."], {
    deadlineMs,
    cwd: `${PROGRAMS}/go_smtp`,
    env: { GO111MODULE: "off", GOPATH: "/usr/share/gocode" },
  });
}

/** Whether there is such a file. */
export function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The version of an npm package among the tools; `undefined` where it is not. */
export function npmVersion(name: string): string | undefined {
  const path = `${TOOLS}/node_modules/${name}/package.json`;
  if (!exists(path)) return undefined;
  return JSON.parse(Deno.readTextFileSync(path)).version;
}

/** The version of a Debian package, without Debian's own part; `undefined` where it is not. */
export function debianVersion(name: string): string | undefined {
  try {
    const { stdout } = new Deno.Command("dpkg-query", {
      args: ["-Wf", "${db:Status-Status} ${Version}", name],
      stderr: "null",
    }).outputSync();
    const text = new TextDecoder().decode(stdout);
    return /^installed (?:\d+:)?([^-]+)/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}
