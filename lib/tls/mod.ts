/**
 * Certificates and TLS: make, load, check and replace certificates, and choose
 * what TLS a server demands.
 *
 * With a certificate a server offers STARTTLS (`security: "required"` insists
 * on it), and `smtps` and `submissions` listeners speak TLS from the first
 * byte. TLS is 1.2 or 1.3.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 * import { Certificate, CertificateSource } from "@smtp/server/tls";
 *
 * const certificate = new CertificateSource(
 *   await Certificate.selfSigned({ names: ["mx.example.com"] }),
 * );
 * await using server = new SmtpServer({
 *   store: new DiscardStore(),
 *   listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
 *   certificate,
 * });
 * await server.start();
 *
 * // Later: new connections get the new certificate, open ones keep theirs.
 * const renewed = await Certificate.selfSigned({ names: ["mx.example.com"] });
 * await server.reload({ certificate: renewed });
 * ```
 *
 * `Certificate.load({ certificateFile, keyFile })` reads PEM files;
 * {@linkcode CertificateSource.watch} takes the same, and reads them again when
 * certbot or another program has renewed them. A
 * {@linkcode CertificateSet} holds several certificates and chooses by the
 * server name that the client asks for (SNI). {@linkcode CertificateRequest}
 * makes a request for a certificate authority.
 *
 * `clientCertificate: { mode: "request" }` asks clients for a certificate,
 * `"require"` insists on one; `session.tls` has what was shown.
 *
 * @module
 */

export {
  Certificate,
  type CertificateSummary,
  type LoadCertificateOptions,
  type ParseCertificateOptions,
} from "./certificate.ts";
export type { WatchCertificateOptions } from "./certificate_files.ts";
export type { ClientCertificatePolicy } from "./context.ts";
export { CertificateError } from "./material.ts";
export type { KeyAlgorithm } from "./private_key.ts";
export {
  CertificateRequest,
  type CertificateRequestOptions,
  type CertificateSubjectOptions,
  type SelfSignedOptions,
} from "./request.ts";
export {
  CertificateSet,
  type CertificateSetOptions,
  CertificateSource,
} from "./set.ts";
export type { CertificateProblem, VerifyCertificateOptions } from "./verify.ts";
export type { KeyUsage } from "./x509_writer.ts";
