// Signs deliveries as Heap does, in this page alone: the webhook secret given to Authorize never leaves it.

export const SIGNATURE_HEADER = "Heap-Hash";

/** Tell whether this browser lets this page sign: WebCrypto exists only on https and on this machine itself. */
export function canSign() {
  return globalThis.crypto?.subtle !== undefined;
}

/**
 * Return the Heap-Hash header of a body, by Heap's spec: the Base64 text of the HMAC-SHA256 of the time's text directly
 * followed by the body, under the secret as UTF-8 text.
 */
export async function signatureHeader(secret, timestampMs, body) {
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["sign"]);
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode(timestampMs + body));
  return `ts:${timestampMs},hmac:${btoa(String.fromCharCode(...new Uint8Array(mac)))}`;
}

/**
 * Put the signature in the place of the secret, where Swagger UI has put one: in requests of operations that are signed.
 *
 * A request that cannot be signed here is not sent at all.
 */
export async function signRequest(request) {
  const secret = request.headers?.[SIGNATURE_HEADER];
  if (secret === undefined) {
    return request;
  }
  delete request.headers[SIGNATURE_HEADER];
  if (canSign()) {
    request.headers[SIGNATURE_HEADER] = await signatureHeader(secret, String(Date.now()), request.body ?? "");
  } else {
    // Swagger UI cannot show an interceptor that fails, only a request that does.
    request.userFetch = async () => {
      throw new Error("This page cannot sign here, so nothing was sent; see the notice at the top.");
    };
  }
  return request;
}
