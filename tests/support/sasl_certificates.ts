/**
 * Certificates for tests/sasl/channel_binding_test.ts, one a signature
 * algorithm. Their keys were thrown away.
 */

/** A certificate and the digest function that its channel binding uses. */
export interface BindingRow {
  /** The signature algorithm. */
  readonly name: string;
  /** The certificate: DER in base64. */
  readonly certificate: string;
  /** The digest function, as WebCrypto names it; `undefined` for none. */
  readonly want: string | undefined;
}

/** One certificate a signature algorithm. */
export const BINDING_ROWS: readonly BindingRow[] = [
  {
    name: "RSA with SHA-256",
    certificate:
      "MIIB9DCCAV2gAwIBAgIUYiOHhAqNomtEU1h2hvImtfkhuO0wDQYJKoZIhvcNAQELBQAwDD" +
      "EKMAgGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNV" +
      "BAMMAWEwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAKmX/Kei9n/cX3MYDkhB9W4cjH" +
      "JJi8T8yBP3vvQse7lCGwbWXiZtbHmivffGR+Q7SAJeYeeLEvj5UjhdwSivgOEh458e5Xcs" +
      "RHdS+In93CDMjbCQlyXSmotr5qiSO3SfWteV8zVbTELZlcnONmZbmWD9pQyqGKgsCRJ7fY" +
      "j6BGZBAgMBAAGjUzBRMB0GA1UdDgQWBBQg14Robk0ss152b/GFJx+/GSJ9bTAfBgNVHSME" +
      "GDAWgBQg14Robk0ss152b/GFJx+/GSJ9bTAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQ" +
      "EBCwUAA4GBAJO9MkXvkpGiI3vQniMzQ3B0MxVoaKtz0A0+0lZXYlN6ObSrht0CdtNDik6/" +
      "ageoStZ3VDbqBwkbPGs2N+tuWN7qk/n3mVpaZHW1w5GN4iln0uvUY1Ct6NeQMvXncLpCvF" +
      "T+1oMqA/52BvOD1ilaaY9QV9pw5but0OJLgwWYNjDE",
    want: "SHA-256",
  },
  {
    name: "RSA with SHA-384",
    certificate:
      "MIIB9DCCAV2gAwIBAgIUYQEZh1FEKRwU4WW9T8S8qbyqLj0wDQYJKoZIhvcNAQEMBQAwDD" +
      "EKMAgGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNV" +
      "BAMMAWEwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAK8/CtdzKjstX9ilhdCg0xyOm2" +
      "whu/InO7wfO/KizkuPf7rycWZqPcStE2KUEPm7kTereglHr32Kt1zSQCujYYwAlpabXij5" +
      "tR8VupjRpIfBf2TDLai0qUID9xOU0VzmF8p3jtN9ZwjFxx5oaagd8IeDzvOneTWJoH4PHy" +
      "47T3QlAgMBAAGjUzBRMB0GA1UdDgQWBBRSlXKMt4hcl/JuyvP/FmPPJP2IBjAfBgNVHSME" +
      "GDAWgBRSlXKMt4hcl/JuyvP/FmPPJP2IBjAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQ" +
      "EBDAUAA4GBAC4yC1ghALDevTteiUZ9HYpwC1B9c2b7kmLXCKGgT/XN7/8C/e4rP1Bo4r3h" +
      "GOtO04xiZR7O2HnXtqy40H5APJI0u0VnXuTW/LsPmhrlHp4/GbzBvpR2rY/mLHxKoxtOpr" +
      "xktzrf9nNX5qEvRwXaMOfeCQHmcXtBQMlJJbj0IRes",
    want: "SHA-384",
  },
  {
    name: "RSA with SHA-512",
    certificate:
      "MIIB9DCCAV2gAwIBAgIUXB6QQVr3YRbIISslBqyNWO7nfpkwDQYJKoZIhvcNAQENBQAwDD" +
      "EKMAgGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNV" +
      "BAMMAWEwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAKmqh23e7FKlNfn20YBqAD6FUf" +
      "QBXMFEOR6KMyeVodxF9MhtSB0iiNwrsm22BA+KazMVmZrcCwCQ2YYW2iMrwbjLa9tci3vb" +
      "URl5c/Zvt/fGlqqn6AxVWevbqhtblKK9aCci3/VNzqPvz0HmbVepM+NT+Ac/zoFXACNuEh" +
      "SuEKxDAgMBAAGjUzBRMB0GA1UdDgQWBBQrB57kIvo5NbJpaYoCg+SVKqq2AzAfBgNVHSME" +
      "GDAWgBQrB57kIvo5NbJpaYoCg+SVKqq2AzAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQ" +
      "EBDQUAA4GBADaVWjMns6Z+CW6ZnZqFge5pt0F1zR//bAPwHmB3tvXxXc1HYFXOrUoJzpi1" +
      "bQbtPwrs+g24UyNjH02dqPSe+nCCUBpb7Kp0KiSQJiOwzg7M5cV+cLmmRNV8EiQwuADKpp" +
      "u9F0cnRs9X84fIb4di40g8ZNkU45govjdO/zJ9NHso",
    want: "SHA-512",
  },
  {
    name: "RSA with SHA-1",
    certificate:
      "MIIB9DCCAV2gAwIBAgIUWlaQEccZ4NZSZViXPug0O2YKJhwwDQYJKoZIhvcNAQEFBQAwDD" +
      "EKMAgGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNV" +
      "BAMMAWEwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAOe6AhA89KIMzqqCQFtNOAhaAK" +
      "v+YmO/p3CkA3QKcXUTqlT2e2wqWj7x7ZFAMbzv5SdBY0e0xwcXax4E1KjK7G5i9TW5sLUz" +
      "hMBueVts3DIJ3WTQAs2U9pHg2Kt+/qA5yaegyrY28w6q9T1iVhwXZmwDah+9cQ8HtwD1uH" +
      "22S+q7AgMBAAGjUzBRMB0GA1UdDgQWBBT9pJt/sjbUOrTBFsyn+1nRJ+8/2jAfBgNVHSME" +
      "GDAWgBT9pJt/sjbUOrTBFsyn+1nRJ+8/2jAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQ" +
      "EBBQUAA4GBAEmCqpFI65QfFWhY+jhL0jWhORLpbKW767ItTZ1ecIcAPOZyKI/8ywmMRuqB" +
      "1wRxZrx/xrdJPB9X/fNXIrNvEINVIPP09CXAx4D5BLoQ08p8YSD07cl8OFBe7oJK26kUbI" +
      "teOOFmEmH/E1bxVQQEqWuBwrsnXBzybWyqz8DyAUVs",
    want: "SHA-256",
  },
  {
    name: "ECDSA with SHA-256",
    certificate:
      "MIIBbTCCAROgAwIBAgIUP0H1mJ/zanJNFo0FVN4KWdUQpcQwCgYIKoZIzj0EAwIwDDEKMA" +
      "gGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNVBAMM" +
      "AWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATGmbxZF664iyl3biu8vsBYMHCXvHhmpD" +
      "bCOFPuN3dv09b26lUaRlBOzDur45rQ7RJ4ZQ61/wooe4SbqhOKXH8Xo1MwUTAdBgNVHQ4E" +
      "FgQU1VmbJSnKFBIyOz3e4vGBhcCa6jAwHwYDVR0jBBgwFoAU1VmbJSnKFBIyOz3e4vGBhc" +
      "Ca6jAwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAlgoGghG9nZD9mifdg" +
      "qn2Fe962XGxODrD9hfIrlhSi6wIhAOnPdta0PCfm6BSWxSnmWLMJGYcwH34xBhlW1PUuZ3" +
      "7n",
    want: "SHA-256",
  },
  {
    name: "ECDSA with SHA-384",
    certificate:
      "MIIBbjCCAROgAwIBAgIUaunkVZMQpl9aaBrC4tL7Pf7QwBMwCgYIKoZIzj0EAwMwDDEKMA" +
      "gGA1UEAwwBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNVBAMM" +
      "AWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARvY8h7Hzs0RN/aX6k3tQdIerS9btkamG" +
      "05TBuf8ayfzgQd7BMZSdJuBiTb2iWDj2qym74JyxN2uLZUpdGMltT9o1MwUTAdBgNVHQ4E" +
      "FgQUPxLw0a/AypxBCffp/k7zPmril9YwHwYDVR0jBBgwFoAUPxLw0a/AypxBCffp/k7zPm" +
      "ril9YwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAwNJADBGAiEAnNHfqgCpKXuxe9wg" +
      "XG9jRk5IWrN8Ih5JR+bul6AGNw8CIQDDu6EVsDvbK6Z+EDHJ+qCmJODcB+XP2hJOkM/ADE" +
      "wtIA==",
    want: "SHA-384",
  },
  {
    name: "RSA-PSS with SHA-384",
    certificate:
      "MIICXDCCAZGgAwIBAgIUM3r/VADMvBLDF2M45otOLd35fJAwQQYJKoZIhvcNAQEKMDSgDz" +
      "ANBglghkgBZQMEAgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIFAKIDAgEwMAwx" +
      "CjAIBgNVBAMMAWEwHhcNMjYxMTIzMjAyMDI0WhcNMjYxMTI0MjAyMDI0WjAMMQowCAYDVQ" +
      "QDDAFhMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQChn3LDM33vlLGPQphhALlscHO9" +
      "LAJ5FiZRniSosXsxpiiI5MQwIwm2+OS8euUfgOsRbW0r0Fupwh9jP+6WE83+7SczWZFyVZ" +
      "9WrPzFVlfjLSFvdPw2PG66am2vRj1rrWVk5mAgxM7nHdfGxHiveh9tqwtmyLM0eBSIg+I2" +
      "VHehoQIDAQABo1MwUTAdBgNVHQ4EFgQUTNB6oRXHJq38f3DnDd/3p8380NwwHwYDVR0jBB" +
      "gwFoAUTNB6oRXHJq38f3DnDd/3p8380NwwDwYDVR0TAQH/BAUwAwEB/zBBBgkqhkiG9w0B" +
      "AQowNKAPMA0GCWCGSAFlAwQCAgUAoRwwGgYJKoZIhvcNAQEIMA0GCWCGSAFlAwQCAgUAog" +
      "MCATADgYEAbkRbyrI48zlX0GYOWnAy5f5nd1JSQCgXNsemoacAtU3jcQUVvMqMI1NkR/RN" +
      "Uro6VT8dTfFry6KzynfqT4LUKQIwWxmqmVZwkftkk87Px/GIP/wx2KN8fhjRSf3cn8IXnI" +
      "wGLW99GIfcnDSJeVwHomaeLdA1zbUSTwJPKayJ3Kw=",
    want: "SHA-384",
  },
  {
    name: "RSA-PSS with SHA-1",
    certificate:
      "MIIB/jCCAWKgAwIBAgIUM7/euAXSobDJa+CB0RlY7oE/zAIwEgYJKoZIhvcNAQEKMAWiAw" +
      "IBajAMMQowCAYDVQQDDAFhMB4XDTI2MTEyMzIwMjAyNFoXDTI2MTEyNDIwMjAyNFowDDEK" +
      "MAgGA1UEAwwBYTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAveD5qg29yrbOjIupWH" +
      "v1PXXhty8pDoAdcvZL2FTvKP9xBILo9wfZAls32Ng8s2egWC10MSBsAwPX1VCG9L6oz6Hk" +
      "+cRprqgZj9MDaWU4DWgAXBkaNwBsCoL/hlLBi9hgoByct7w6Z4+4zlEu3uPZFFflE0hdq6" +
      "Ni6+XD6ZgCGb8CAwEAAaNTMFEwHQYDVR0OBBYEFBIg9MT6vHo0n9te2QaNXtEXymP/MB8G" +
      "A1UdIwQYMBaAFBIg9MT6vHo0n9te2QaNXtEXymP/MA8GA1UdEwEB/wQFMAMBAf8wEgYJKo" +
      "ZIhvcNAQEKMAWiAwIBagOBgQB/Qh+mJFtpXvBBCi2Fs0WDD/xzEKOno5ff2HKubgtQlFYE" +
      "pWrUGv0kUaSS9R2y195TOVb3BHB209ImrhIyxP53KeSpCWEKxF3kLtd+Al2+On0ooy5XQG" +
      "E9Rm2ayb3+FRm3DOQOr2xwPg3JVykCapestTo8UeQ4K1qcg3IWqzS+AQ==",
    want: "SHA-256",
  },
  {
    name: "Ed25519",
    certificate:
      "MIIBLDCB36ADAgECAhRkYpt5PsDjjeL5+OAYg2xmpaabTDAFBgMrZXAwDDEKMAgGA1UEAw" +
      "wBYTAeFw0yNjExMjMyMDIwMjRaFw0yNjExMjQyMDIwMjRaMAwxCjAIBgNVBAMMAWEwKjAF" +
      "BgMrZXADIQBtoT2mhT7qvqXRhpxOR0kyp/y0DnJKo6Q/TGHBM1ktBaNTMFEwHQYDVR0OBB" +
      "YEFGp+heJO4e7D427/UmbJ7q9WaJmLMB8GA1UdIwQYMBaAFGp+heJO4e7D427/UmbJ7q9W" +
      "aJmLMA8GA1UdEwEB/wQFMAMBAf8wBQYDK2VwA0EAS07Ule/jcwgi7Zrlw+S8nvpowWaa2b" +
      "qaoRSIfqMOI/rqvVzqS/7oNYN72A+2SnGo4hBAkcKe5K784I5rI7+BBg==",
    want: undefined,
  },
];
