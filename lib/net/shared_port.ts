/**
 * Whether several threads can listen on one port, each for itself: the kernel
 * hands every connection to one of them. Stands alone because both the
 * command line and the threads ask, and because a listener of `node:net`, which
 * would share without a flag, accepts nothing more once descriptors ran out.
 */

/**
 * Whether the kernel spreads connections over the threads that listen on one
 * port. Others refuse the second one, or give all of them to the last.
 */
function canSharePort(): boolean {
  return Deno.build.os === "linux" || Deno.build.os === "android";
}

/**
 * Whether `Deno.listen` may share a port: it needs `--unstable-net`, and
 * without that flag an attempt ends the process.
 */
function platformShares(): boolean {
  return typeof Deno.listenDatagram === "function";
}

/**
 * Checks that threads can share ports here.
 *
 * @throws {Deno.errors.NotSupported} If the platform does not share ports, or may not without its flag
 */
export function checkThreads(threads: number): void {
  if (!canSharePort()) {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads on "${Deno.build.os}": want Linux, which spreads connections over the listeners of a port`,
    );
  }
  if (!platformShares()) {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads without --unstable-net: want that flag behind "deno run", or "unstable": ["net"] in deno.json`,
    );
  }
}
