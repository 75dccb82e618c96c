/** Lets one asynchronous job run at a time, in the order asked: the engine is not re-entrant. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();

  run<T>(job: () => T | Promise<T>): Promise<T> {
    const result = this.#tail.then(job);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
