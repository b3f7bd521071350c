/**
 * Names that no other file has or will have, after the rules for Maildir: the
 * time, the process, a counter, a random number and the host.
 */

const random = Array.from(
  crypto.getRandomValues(new Uint8Array(8)),
  (byte) => byte.toString(16).padStart(2, "0"),
).join("");
let counter = 0;
let host: string | undefined;

/**
 * A name unique among all threads, processes and hosts: letters, digits and
 * dots, and what the host's name has beside these.
 *
 * @param hostname The part behind the last separator; this machine's name when not given
 */
export function uniqueName(hostname: string = hostName()): string {
  const now = Date.now();
  const seconds = Math.trunc(now / 1000);
  const micros = (now % 1000) * 1000 +
    Math.trunc(performance.now() * 1000) % 1000;
  return `${seconds}.M${micros}P${Deno.pid}Q${++counter}R${random}.${hostname}`;
}

/** This machine's name, fit for a file name; `"localhost"` without the permission `sys`. */
export function hostName(): string {
  if (host !== undefined) return host;
  try {
    host = safeHost(Deno.hostname());
  } catch {
    host = "localhost";
  }
  return host;
}

/** A host's name with everything that has a meaning in file names or Maildir replaced by `-`. */
export function safeHost(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, "-") || "localhost";
}
