// The program of a worker that judges answers by a person's function, and can do nothing else: what reaches the network, the
// disk or another program is taken away before the function is there.

import type { ToJudge } from '../engine';

/** What the worker is told: an answer to judge, or null to hear whether it is ready. */
export type Asked = ToJudge | null;

/** What it says: that it is ready, what an answer earned, or what went wrong, with the place as the browser writes it. */
export type Said = { ready: true } | { earned: number | null } | { wrong: string; stack: string };

/** Becomes the beginning of the worker's program, so it uses nothing from outside. `judge` gives the person's function. */
function confine(judge: () => unknown): void {
  const scope = globalThis as unknown as { postMessage(said: Said): void; addEventListener(type: string, hear: (event: { data: Asked }) => void): void };
  const say = scope.postMessage.bind(scope);
  scope.addEventListener('message', async ({ data }) => {
    try {
      const own = judge();
      if (typeof own !== 'function') return say({ wrong: 'this is no function: write (prompt, completion, columns) => …', stack: '' });
      if (data === null) return say({ ready: true });
      const earned: unknown = await own(data.prompt, data.completion, data.columns);
      if (earned === null || typeof earned === 'number') return say({ earned });
      say({ wrong: `it gave ${typeof earned === 'string' ? JSON.stringify(earned).slice(0, 60) : String(earned)}, and a number or null was expected`, stack: '' });
    } catch (thrown) {
      const error = thrown instanceof Error;
      say({ wrong: String(thrown), stack: error ? String(thrown.stack) : '' });
    }
  });
  // The language itself stays, and a console to look into; all that a browser adds goes.
  const stays = new Set(
    ('Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol Date Promise RegExp Error AggregateError EvalError RangeError ' +
      'ReferenceError SyntaxError TypeError URIError globalThis JSON Math Intl ArrayBuffer DataView Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array ' +
      'Int32Array Uint32Array BigInt64Array BigUint64Array Float16Array Float32Array Float64Array BigInt Map Set WeakMap WeakSet WeakRef Iterator Proxy Reflect ' +
      'decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape isFinite isNaN console').split(' '),
  );
  for (let owner: object | null = globalThis; owner && owner !== Object.prototype; owner = Object.getPrototypeOf(owner) as object | null) {
    for (const name of Reflect.ownKeys(owner)) {
      if (typeof name === 'symbol' || stays.has(name) || Reflect.deleteProperty(owner, name)) continue;
      // What cannot be removed is emptied, where that may be.
      Reflect.defineProperty(owner, name, { value: undefined });
    }
  }
}

// In a scope of its own: what stands at the top of a program would be taken away with the rest.
const before = `(${confine})(() => own);\nconst own = (() => {\nconst given =\n`;
const linesBefore = before.split('\n').length - 1;

/** The worker's program with this function in it. A function may be followed by others that it calls. */
export const program = (source: string): string => `${before}${source}\n;\nreturn given;\n})();`;

/** A line of the program as a line of the person's text, from 1; null where it is none of theirs. */
export function lineOf(source: string, line: number): number | null {
  const own = line - linesBefore;
  if (own < 1) return null;
  // What is not closed is missed behind the last line.
  return Math.min(own, source.split('\n').length);
}

/** The line of the program that an error's stack begins with. */
export function lineInStack(stack: string): number | null {
  const [, line] = /blob:[^\s)]*:(\d+):\d+/.exec(stack) ?? [];
  return line === undefined ? null : Number(line);
}
