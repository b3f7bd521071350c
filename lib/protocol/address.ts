/** Address: stub of the fixed interface, to be written. */
export class Address {
  /** Local part as written, quotes kept. */
  readonly localPart: string = "";
  /** Domain in lower case, or address literal with brackets; "" for the null sender and bare postmaster. */
  readonly domain: string = "";
}
