import { createContext, Script } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { firstFunction } from '../src/rewards';
import type { Asked, Said } from '../src/worker/confine';
import { OwnFunction, type Confined } from '../src/worker/own-function';

/** Workers that were started, and those that were ended. */
let started = 0;
let ended = 0;
afterEach(() => ([started, ended] = [0, 0]));

/** A worker's program run in a context of its own, which has a little of what a browser's has. `stuck`: the answer that it never has done with. */
function start(stuck?: string): (script: string) => Confined {
  return (script) => {
    started++;
    let hear: (event: { data: Asked }) => void = () => undefined;
    const context = createContext({ postMessage: (data: Said) => worker.onmessage?.({ data } as MessageEvent), addEventListener: (_: string, listen: typeof hear) => (hear = listen), fetch: () => 'reached', indexedDB: {}, console });
    const worker: Confined = {
      onmessage: null,
      onerror: null,
      terminate: () => void ended++,
      postMessage: (data: Asked) =>
        setTimeout(() => {
          if (data && data.completion === stuck) return;
          hear({ data });
        }),
    };
    let failure: unknown = null;
    try {
      new Script(script, { filename: 'blob:http://127.0.0.1/1234' }).runInContext(context);
    } catch (thrown) {
      failure = thrown;
    }
    if (failure) {
      const [, line] = /blob:[^\s]*?:(\d+)/.exec(String((failure as Error).stack)) ?? [];
      worker.postMessage = () => setTimeout(() => worker.onerror?.({ message: `Uncaught ${String(failure)}`, lineno: Number(line), preventDefault: () => undefined } as ErrorEvent));
    }
    return worker;
  };
}

const judge = (source: string, ...completions: string[]) => new OwnFunction(source, start('for ever'), 0.05).judge(completions.map((completion) => ({ prompt: 'p', completion, columns: { level: 3 } })));

describe('a function of one’s own', () => {
  it('is given the prompt, the answer and the columns, and gives numbers or null', async () => {
    expect(await judge('(prompt, completion, columns) => prompt.length + completion.length + columns.level', 'ab', '')).toEqual([6, 4]);
    expect(await judge('(p, c) => (c ? NaN : null)', 'a', '')).toEqual([null, null]);
    expect(await judge('async (p, c) => Number(c)', '7')).toEqual([7]);
    expect(started).toBe(3);
  });

  it('may stand behind a comment, end with a semicolon, and call what stands below it', async () => {
    expect(await judge(firstFunction, 'a b', 'a '.repeat(24))).toEqual([1, 0.5]);
    expect(await judge('// mine\nfunction judge(p, c) {\n  return twice(c.length);\n};\nfunction twice(n) { return 2 * n; }', 'abc')).toEqual([6]);
  });

  it('reaches nothing that a browser has', async () => {
    const names = ['fetch', 'indexedDB', 'postMessage', 'addEventListener', 'WebAssembly'];
    expect(await judge(`() => ${JSON.stringify(names)}.filter((name) => name in globalThis).length`, 'a')).toEqual([0]);
    await expect(judge('() => fetch("https://example.org")', 'a')).rejects.toMatchObject({ code: 'config', message: 'line 1: ReferenceError: fetch is not defined' });
  });

  it('is told with its line where it throws, and where it cannot be read', async () => {
    await expect(judge('// one\n(p, c) => {\n  return c.missing.toFixed();\n}', 'a')).rejects.toMatchObject({ message: expect.stringMatching(/^line 3: TypeError: /) });
    await expect(judge('(p, c) => {\n  return 1 +;\n}', 'a')).rejects.toMatchObject({ message: expect.stringMatching(/^line 2: SyntaxError: /) });
    await expect(judge('(p, c) => {\n  return 1;', 'a')).rejects.toMatchObject({ message: expect.stringMatching(/^line 2: SyntaxError: /) });
    await expect(judge('() => { throw "no"; }', 'a')).rejects.toMatchObject({ message: 'no' });
    expect(ended).toBe(4);
  });

  it('has to be a function that gives a number', async () => {
    await expect(judge(' \n', 'a')).rejects.toMatchObject({ message: 'there is none' });
    await expect(judge('3', 'a')).rejects.toMatchObject({ message: expect.stringContaining('this is no function') });
    await expect(judge('() => "high"', 'a')).rejects.toMatchObject({ message: 'it gave "high", and a number or null was expected' });
    await expect(judge('(p, c) => { c.length }', 'a')).rejects.toMatchObject({ message: expect.stringContaining('it gave undefined') });
  });

  it('is stopped where it does not end, and starts anew', async () => {
    const own = new OwnFunction('(p, c) => c.length', start('for ever'), 0.05);
    const one = (completion: string) => own.judge([{ prompt: 'p', completion, columns: {} }]);
    expect(await one('abc')).toEqual([3]);
    await expect(one('for ever')).rejects.toMatchObject({ code: 'config', message: 'it took longer than 0.05 seconds over one answer, and was stopped' });
    expect([started, ended]).toEqual([1, 1]);
    expect(await one('ab')).toEqual([2]);
    own.close();
    expect([started, ended]).toEqual([2, 2]);
  });
});
