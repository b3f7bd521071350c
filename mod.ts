/**
 * An SMTP server to put into a program: it receives mail from any client, asks
 * the program who may send what to whom, and keeps each message safely.
 *
 * @example A server in eight lines
 * ```ts ignore
 * import { MaildirStore, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   listen: "127.0.0.1:2525",
 *   domains: ["example.com"],
 *   store: new MaildirStore({ folder: "./mail" }),
 * });
 * await server.start();
 * ```
 *
 * @module
 */

export { SmtpServer } from "./lib/server/server.ts";
export type {
  ListeningAddress,
  ReloadOptions,
  ServeOptions,
  SmtpServerOptions,
  StopOptions,
} from "./lib/server/options.ts";
export type { LimitOptions } from "./lib/session/limit_options.ts";
export {
  SmtpError,
  SmtpReply,
  type SmtpReplyOptions,
} from "./lib/protocol/reply.ts";
export {
  Address,
  type AddressParseOptions,
  AddressSyntaxError,
} from "./lib/protocol/address.ts";
export type { LogEvent, Logger, LogLevel, LogRecord } from "./lib/log.ts";

export {
  DROP,
  type HandlerVerdict,
  type MaybePromise,
  SILENT_ALLOW,
  SILENT_DENY,
  type SmtpHandlers,
} from "./lib/session/handlers.ts";
export type {
  HandlerContext,
  HandlerModule,
} from "./lib/session/handler_module.ts";
export type { SessionState, SmtpSession } from "./lib/session/session.ts";
export type { CloseReason } from "./lib/protocol/server/effects.ts";
export type { SessionProxy } from "./lib/session/proxied_transport.ts";
export type {
  ProxyEndpoint,
  ProxyHeader,
  ProxyTls,
  ProxyTlv,
} from "./lib/protocol/proxy_header.ts";
export type {
  XclientAttributes,
  XclientUnavailable,
} from "./lib/protocol/xclient.ts";

export {
  type Message,
  type MessageStore,
  type Recipient,
  type SaveOptions,
  StoreError,
} from "./lib/message/message.ts";
export { type HeaderOptions, MessageHeaders } from "./lib/protocol/headers.ts";
export type {
  MailParameters,
  RcptParameters,
} from "./lib/protocol/parameters.ts";

export { type BodyOptions, MessageBody } from "./lib/message/body.ts";
export type { Newline } from "./lib/store/content.ts";
export type { MailboxOwners } from "./lib/files/trust.ts";
export type { MailboxOptions } from "./lib/store/per_recipient.ts";
export type { LockMethod, LockSettings } from "./lib/store/lock.ts";
export {
  mailboxName,
  type MailboxNameOptions,
} from "./lib/store/mailbox_name.ts";
export { DiscardStore } from "./lib/store/discard_store.ts";
export { FileStore, type FileStoreOptions } from "./lib/store/file_store.ts";
export {
  MaildirStore,
  type MaildirStoreOptions,
} from "./lib/store/maildir_store.ts";
export { MboxStore, type MboxStoreOptions } from "./lib/store/mbox_store.ts";
export {
  CollectedMessage,
  MemoryStore,
  type MemoryStoreOptions,
} from "./lib/store/memory_store.ts";
export {
  type StreamFactory,
  StreamStore,
  type StreamStoreOptions,
} from "./lib/store/stream_store.ts";

export type { ExtensionKeyword } from "./lib/protocol/capabilities.ts";
export type { BareNewlinePolicy } from "./lib/protocol/data_decoder.ts";
export type { EarlyTalkerPolicy } from "./lib/session/context.ts";
export type {
  AuthenticationPolicy,
  ListenerSecurity,
  ListenOptions,
} from "./lib/net/listen_options.ts";
export type { ListenerKind } from "./lib/protocol/listener_kind.ts";
export type { SocketAddress, TlsInfo, Transport } from "./lib/net/transport.ts";

export {
  AccountList,
  type Accounts,
  authenticateWith,
  type KnownAccount,
  parseAccounts,
} from "./lib/sasl/accounts.ts";
export {
  Credentials,
  type CredentialsInit,
  type KnownSecret,
  type SecretCheck,
} from "./lib/sasl/credentials.ts";
export {
  MECHANISM_NAMES,
  type MechanismName,
  parseMechanismName,
} from "./lib/sasl/mechanism_name.ts";
export {
  type ScramKeys,
  ScramVerifier,
  type ScramVerifierOptions,
} from "./lib/sasl/scram_verifier.ts";
export {
  chooseMechanism,
  type ChooseMechanismOptions,
  createClientMechanism,
  createServerMechanism,
} from "./lib/sasl/registry.ts";
export {
  type ClientMechanism,
  type ClientMechanismOptions,
  SaslError,
} from "./lib/sasl/client_mechanism.ts";
export {
  type ServerEnd,
  type ServerFailure,
  type ServerMechanism,
  type ServerMechanismOptions,
  type ServerStep,
} from "./lib/sasl/server_mechanism.ts";
export {
  type ExchangeChallenge,
  type ExchangeFailure,
  type ExchangeResult,
  ServerExchange,
  type ServerExchangeOptions,
} from "./lib/sasl/server_exchange.ts";
export { decodeBase64Strict, encodeBase64 } from "./lib/sasl/encoding.ts";
export { saslPrep } from "./lib/sasl/saslprep.ts";
export { tlsServerEndPoint } from "./lib/sasl/channel_binding.ts";

export {
  Certificate,
  type CertificateSummary,
  type LoadCertificateOptions,
  type ParseCertificateOptions,
} from "./lib/tls/certificate.ts";
export { CertificateError } from "./lib/tls/material.ts";
export {
  CertificateRequest,
  type CertificateRequestOptions,
  type CertificateSubjectOptions,
  type SelfSignedOptions,
} from "./lib/tls/request.ts";
export type {
  CertificateProblem,
  VerifyCertificateOptions,
} from "./lib/tls/verify.ts";
export type { KeyAlgorithm } from "./lib/tls/private_key.ts";
export type { KeyUsage } from "./lib/tls/x509_writer.ts";
export {
  CertificateSet,
  type CertificateSetOptions,
  CertificateSource,
  type ChooseCertificate,
} from "./lib/tls/set.ts";
export type {
  ClientCertificatePolicy,
  TlsPolicy,
  TlsVersion,
} from "./lib/tls/context.ts";

export { DnsClient, type DnsClientOptions } from "./lib/dns/client.ts";
export type {
  AddressesOptions,
  BlocklistListed,
  BlocklistOutcome,
  BlocklistUnlisted,
  ReverseOutcome,
} from "./lib/dns/lookups.ts";
export { type NameServer, parseNameServer } from "./lib/dns/name_server.ts";
export {
  DNS_RECORD_TYPES,
  type DnsFailed,
  type DnsFailureCode,
  type DnsFound,
  type DnsNone,
  type DnsNullMx,
  type DnsOutcome,
  type DnsOutcomeOf,
  type DnsQueryOptions,
  type DnsRecords,
  type DnsRecordType,
  type MxOutcome,
  type MxRecord,
} from "./lib/dns/outcome.ts";
export { canonicalIp, type IpBytes, parseIp } from "./lib/protocol/ip.ts";
export { type Cidr, parseCidr } from "./lib/net/cidr.ts";
export type { ConnectTcpOptions, ConnectTransport } from "./lib/net/connect.ts";
export {
  type SendResult,
  type SentRecipient,
  SmtpClient,
} from "./lib/client/client.ts";
export type { Login, NextHop, TlsSecurity } from "./lib/client/next_hop.ts";
export type {
  ClientProgress,
  JudgeCertificate,
  PeerCertificate,
  SmtpClientOptions,
  UpgradeTransport,
} from "./lib/client/options.ts";
export type { ClientTimeouts } from "./lib/client/session.ts";
export type { TlsHandshakeOptions } from "./lib/net/tls_handshake.ts";
export type {
  UpgradeClientOptions,
  UpgradedClient,
} from "./lib/net/tls_upgrade.ts";
export type {
  ClientData,
  ClientDestination,
  SendOptions,
} from "./lib/client/message.ts";
export {
  ClientCapabilities,
  type ClientLimits,
} from "./lib/protocol/client/capabilities.ts";
export { type ClientStage, SmtpClientError } from "./lib/client/error.ts";

export type {
  DeliveryOptions,
  RelayDns,
  RelayingOptions,
} from "./lib/delivery/options.ts";
export {
  type Relay,
  type RelayOptions,
  type RelayRecipient,
  type Relays,
} from "./lib/queue/relay.ts";
export type {
  EnvelopeOptions,
  EnvelopeRecipient,
  Progress,
  RecipientAnswer,
  RecipientProgress,
  RecipientResult,
  RecipientStatus,
  RelayRoute,
  SpoolChange,
  SpoolEntry,
  StoredEnvelope,
} from "./lib/spool/envelope.ts";
export {
  type Spool,
  type SpoolAction,
  type SpoolAddition,
  SpoolError,
  type SpoolProblem,
  type SpoolRequest,
} from "./lib/spool/spool.ts";
export { FileSpool, type FileSpoolOptions } from "./lib/spool/file_spool.ts";
export {
  MemorySpool,
  type MemorySpoolOptions,
} from "./lib/spool/memory_spool.ts";
export {
  type ControlOutcome,
  controlSpool,
  inspectSpool,
} from "./lib/spool/control.ts";
export { parseDuration, RetrySchedule } from "./lib/queue/schedule.ts";
export { RelayQueue } from "./lib/queue/queue.ts";
export type { RelayHooks, RelayQueueOptions } from "./lib/queue/options.ts";
export type { Clock } from "./lib/spool/clock.ts";
export type {
  Deliver,
  DeliveryJob,
  DeliveryReport,
  DeliveryState,
  RecipientReport,
} from "./lib/queue/job.ts";
export { Delivery } from "./lib/delivery/delivery.ts";
export type { OpenContent } from "./lib/delivery/content.ts";
export { ClientPool, type ClientPoolOptions } from "./lib/delivery/pool.ts";
export {
  BrokenTlsMemory,
  type BrokenTlsMemoryOptions,
} from "./lib/delivery/host_memory.ts";
