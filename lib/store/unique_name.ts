/**
 * Names that no other file has or will have, by the rules of Maildir: time,
 * process, counter, random number and host. Stands alone: all stores that write
 * files use it.
 */

const random = crypto.getRandomValues(new Uint8Array(8)).toHex();
let counter = 0;
let host: string | undefined;

/**
 * A name unique among all threads, processes and hosts. It has letters, digits
 * and dots, and the characters of the host's name.
 *
 * @param hostname Last part of the name. Default: this machine's name
 */
export function uniqueName(hostname: string = hostName()): string {
  const now = Date.now();
  const seconds = Math.trunc(now / 1000);
  const micros = (now % 1000) * 1000 +
    Math.trunc(performance.now() * 1000) % 1000;
  return `${seconds}.M${micros}P${Deno.pid}Q${++counter}R${random}.${hostname}`;
}

/** This machine's name, safe in a file name; `"localhost"` without the permission `sys`. */
export function hostName(): string {
  if (host !== undefined) return host;
  try {
    host = safeHost(Deno.hostname());
  } catch {
    host = "localhost";
  }
  return host;
}

/** A host's name with `-` for every character that has a meaning in file names or Maildir. */
export function safeHost(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, "-") || "localhost";
}
