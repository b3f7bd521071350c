/**
 * What this platform lacks, one name each: a test that cannot run everywhere is
 * skipped by one of these conditions and by nothing else, so that each gap has
 * its line in examples/where_it_runs.md.
 */

/** Whether this is Windows: no unix sockets, file modes, or signals but Ctrl-C. */
export const isWindows: boolean = Deno.build.os === "windows";

/** Whether the kernel spreads connections over the listeners of one port. */
export const sharesPorts: boolean = Deno.build.os === "linux";

/** Whether unix sockets can be listened on. */
export const hasUnixSockets: boolean = !isWindows;

/** Whether files have modes and owners. */
export const hasFileModes: boolean = !isWindows;

/** Whether SIGHUP, SIGTERM and other signals can be sent to a process. */
export const hasSignals: boolean = !isWindows;

/** Whether this is Linux, with its /proc, mounts and programs as script and systemd. */
export const isLinux: boolean = Deno.build.os === "linux";

/** Whether this process may give files to other users. */
export const isRoot: boolean = !isWindows && Deno.uid() === 0;

/** `Deno.test` where a condition of this file holds, and its skipping twin elsewhere. */
export function testWhere(condition: boolean): typeof Deno.test.ignore {
  return condition ? Deno.test : Deno.test.ignore;
}
