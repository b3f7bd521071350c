/**
 * The evidence for a message, and how to give it to one's own: SPF, DKIM, DMARC
 * and ARC as functions. The server does all of this with its options `verify` and
 * `dkim`.
 *
 * @module
 */

export { sealArc, type SealFacts } from "./arc_seal.ts";
export { verifyArc } from "./arc_verify.ts";
export {
  type AuthenticationResults,
  formatAuthenticationResults,
  type MethodResult,
  parseAuthenticationResults,
  type ResultsToReport,
  type ReverseResult,
} from "./authentication_results.ts";
export type { AuthorDomain } from "./author.ts";
export { type DkimLookup, lookupDkim } from "./dkim_lookup.ts";
export { type DkimKeyType, DkimPrivateKey } from "./dkim_private_key.ts";
export { type DkimKey, signDkim } from "./dkim_sign.ts";
export { verifyDkim, type VerifyDkimOptions } from "./dkim_verify.ts";
export { checkDmarc, type DmarcFacts } from "./dmarc.ts";
export { type DmarcLookup, lookupDmarc } from "./dmarc_lookup.ts";
export type {
  DmarcPolicies,
  DmarcPolicy,
  DmarcRecord,
} from "./dmarc_record.ts";
export {
  type ArcResult,
  type AuthenticationValues,
  type AuthResult,
  type CheckedReverse,
  type DkimResult,
  type DmarcResult,
  MessageAuthentication,
  type SpfResult,
  type TrustFinding,
} from "./result.ts";
export { checkSpf, checkSpfHelo, type SpfFacts, type SpfTools } from "./spf.ts";
export { lookupSpf, type SpfLookup, type SpfTermNote } from "./spf_lookup.ts";
export { Srs, type SrsOptions, type SrsOutcome } from "./srs.ts";
export type { DmarcOptions, DmarcStep } from "./tree_walk.ts";
