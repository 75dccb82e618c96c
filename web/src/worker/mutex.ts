/** Lets one asynchronous job run at a time, in the order asked: the engine is not re-entrant. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();
  #jobs = 0;
  /** Hears of a job that has to wait for another. */
  onWait: () => void = () => undefined;

  run<T>(job: () => T | Promise<T>): Promise<T> {
    if (this.#jobs) this.onWait();
    this.#jobs++;
    const result = this.#tail.then(job).finally(() => this.#jobs--);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
