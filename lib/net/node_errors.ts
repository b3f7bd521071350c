/** What `node:net` reports, as the classes that `Deno` has for the same. */

type ErrorClass = new (message: string, options: ErrorOptions) => Error;

const CLASSES: ReadonlyMap<unknown, ErrorClass> = new Map<unknown, ErrorClass>([
  ["EACCES", Deno.errors.PermissionDenied],
  ["EADDRINUSE", Deno.errors.AddrInUse],
  ["ECANCELED", Deno.errors.ConnectionAborted],
  ["ECONNABORTED", Deno.errors.ConnectionAborted],
  ["ECONNRESET", Deno.errors.ConnectionReset],
  ["ENOTCONN", Deno.errors.NotConnected],
  ["EPIPE", Deno.errors.BrokenPipe],
  ["ETIMEDOUT", Deno.errors.TimedOut],
]);

/** The error as `Deno` would throw it; itself where there is no class for it. */
export function platformError(error: Error): Error {
  const { code } = error as { code?: unknown };
  const ErrorClass = CLASSES.get(code);
  if (ErrorClass === undefined) return error;
  const message = code === "EADDRINUSE"
    ? "Address already in use"
    : error.message;
  return new ErrorClass(message, { cause: error });
}
