// What this page says over the network, measured where it happens: every request from the browser's
// own resource timing, and the size of every body handed to fetch, XHR, beacons and sockets.

import type { RequestRecord } from './protocol';

/** Reports new requests and the bytes handed to the network so far. Works in a page and in a worker. */
export function watchTraffic(report: (requests: RequestRecord[], sent: number) => void): void {
  let sent = 0;
  const add = (body: unknown) => {
    sent += sizeOf(body);
    report([], sent);
  };
  const scope = globalThis;
  const { fetch } = scope;
  scope.fetch = (input, init) => {
    const body = init?.body ?? (input instanceof Request ? input.body : null);
    if (body != null) add(body);
    return fetch(input, init);
  };
  const patch = <T extends object>(target: T | undefined, method: keyof T & string, argument: number) => {
    const original = target?.[method];
    if (!target || typeof original !== 'function') return;
    target[method] = function (this: unknown, ...args: unknown[]) {
      if (args[argument] != null) add(args[argument]);
      return original.apply(this, args) as unknown;
    } as T[typeof method];
  };
  patch(scope.XMLHttpRequest?.prototype, 'send', 0);
  patch(scope.WebSocket?.prototype, 'send', 0);
  patch(typeof Navigator === 'undefined' ? undefined : Navigator.prototype, 'sendBeacon', 1);

  new PerformanceObserver((list) => {
    const requests = (list.getEntries() as PerformanceResourceTiming[])
      .filter((entry) => /^(https?|wss?):/.test(entry.name))
      .map((entry) => ({ url: entry.name, bytes: entry.transferSize }));
    if (requests.length) report(requests, sent);
  }).observe({ type: 'resource', buffered: true });
}

/** The bytes of a request's body; a stream, whose size nobody knows, counts as one so that it shows. */
export function sizeOf(body: unknown): number {
  if (body == null) return 0;
  if (typeof body === 'string') return new TextEncoder().encode(body).length;
  if (body instanceof Blob) return body.size;
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return body.byteLength;
  if (body instanceof URLSearchParams) return sizeOf(body.toString());
  if (body instanceof FormData) {
    let sum = 0;
    for (const [name, value] of body) sum += sizeOf(name) + sizeOf(value);
    return sum;
  }
  return 1;
}
