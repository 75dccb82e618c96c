import { toProblem, type FromWorker, type Notice, type RequestName, type Requests } from './protocol';
import type { Problem } from './engine';

/** The page's end of the worker. */
export class Client {
  #worker: Worker;
  #waiting = new Map<number, { resolve: (result: never) => void; reject: (problem: Problem) => void }>();
  #last = 0;

  /** `broke`: the worker itself failed, and every request with it. */
  constructor(
    notify: (notice: Notice) => void,
    broke: (problem: Problem) => void,
  ) {
    this.#worker = new Worker(new URL('./worker/worker.ts', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if ('notice' in data) return notify(data);
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ('problem' in data) waiting?.reject(data.problem);
      else waiting?.resolve(data.result as never);
    };
    this.#worker.onerror = (event) => {
      const problem = toProblem(new Error(event.message || 'the engine’s worker could not be loaded'));
      for (const { reject } of this.#waiting.values()) reject(problem);
      this.#waiting.clear();
      broke(problem);
    };
  }

  /** Sends a request. Rejects with a `Problem`. */
  ask<N extends RequestName>(name: N, args: Requests[N]['args']): Promise<Requests[N]['result']> & { id: number } {
    const id = ++this.#last;
    const answer = new Promise<Requests[N]['result']>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, name, args });
    });
    return Object.assign(answer, { id });
  }

  close(): void {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) {
      reject({ code: 'closed', message: 'The engine was restarted.', help: 'Try again.' });
    }
    this.#waiting.clear();
  }
}
