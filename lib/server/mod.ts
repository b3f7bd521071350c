/**
 * The door of the command line: what `serve`, `serve --check` and the other
 * commands use beside the entry points, to check listeners, handler modules,
 * limits and names before anything starts. No entry point of the package: a
 * program gets these checks from `new SmtpServer()`.
 *
 * Stands alone so that the command line reaches into no other file.
 */

export { isOpenToClients } from "../delivery/options.ts";
export { stampOf } from "../files/reread_file.ts";
export { readSmallFile } from "../files/small_file.ts";
export {
  formatHostPort,
  kindName,
  parseListen,
} from "../net/listen_options.ts";
export { LOG_FORMS, type LogForm, LogWriter } from "../logging/log_lines.ts";
export { parseHop } from "../client/next_hop.ts";
export { parsePeers } from "../net/cidr.ts";
export { checkThreads } from "../net/listener.ts";
export { MOST_PATH_BYTES, UnixSocketFile } from "../net/unix_socket.ts";
export { KINDS } from "../protocol/listener_kind.ts";
export {
  handlerModuleUrl,
  loadHandlerModule,
  moduleFault,
} from "../session/handler_module.ts";
export { HANDLERS_RULE } from "../session/handlers_rule.ts";
export {
  LIMITS,
  type LimitTable,
  type NumberLimit,
  numberLimits,
} from "../session/limit_options.ts";
export {
  USER_LIMITS,
  type UserLimit,
  userLimitRows,
} from "../session/user_limit_options.ts";
export { listsHost } from "../secure_transport/sts_policy.ts";
export { isReportSender } from "../secure_transport/tls_report_options.ts";
export { readTlsReportRecord } from "../secure_transport/tls_report_record.ts";
export { isDelimiter } from "../session/mailbox_names.ts";
export { localDomains } from "../session/local_domains.ts";
export { openLocalRecipients } from "../session/local_recipients.ts";
export { machineName } from "../options.ts";
export { aliasFaults, policyOf } from "./contexts.ts";
export { checkHostname, MOST_THREADS } from "./options.ts";
