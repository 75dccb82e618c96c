import type { Problem } from '../engine';
import { toProblem, type RunState } from '../protocol';
import { isBusy } from '../run';
import type { Mutex } from './mutex';

/** Takes the right to train; resolves to its release, or to null when another tab has it. */
export type TrainingLock = () => Promise<(() => void) | null>;

export const otherTab: Problem = {
  code: 'other-tab',
  message: 'Another tab of Tunesmith is training.',
  help: 'Two runs would share one GPU and both would crawl. Stop or close the other one, then start here.',
};

/** Work that goes on piece by piece. Each call has the engine to itself. */
export interface Job {
  begin(): Promise<void>;
  /** One piece; says whether it was the last. */
  step(): Promise<boolean>;
  /** Ends here and keeps what there is. */
  finish(): Promise<void>;
  /** Before a pause, which may be the last that is seen of it. */
  keep?(): Promise<void>;
  become(state: RunState, problem: Problem | null): void;
}

/** Leaves a step in the middle, and takes it up there again: see the engine's `Turns`. */
export interface Turns {
  hold(): Promise<boolean>;
  release(): void;
}

type Wanted = 'run' | 'pause' | 'stop';

/** One job at a time: calls its steps in a loop, and looks for pause and stop between them. */
export class Runner {
  #job: Job | null = null;
  #state: RunState = 'idle';
  #wanted: Wanted = 'run';
  #wake: () => void = () => undefined;
  /** Until there is an engine, nothing can be left. */
  turns: Turns = { hold: async () => false, release: () => undefined };
  /** Resolves when the loop of the last job has ended. */
  finished: Promise<void> = Promise.resolve();

  constructor(
    private readonly engine: Mutex,
    private readonly lock: TrainingLock,
  ) {
    // Whoever needs the engine in a pause has a step finished that was left: it cannot do two things.
    engine.onWait = () => this.turns.release();
  }

  get state(): RunState {
    return this.#state;
  }

  async start(job: Job): Promise<void> {
    if (isBusy(this.#state)) {
      throw { code: 'busy', message: 'A run is already going.', help: 'Stop it before starting another.' } satisfies Problem;
    }
    this.#job = job;
    this.#wanted = 'run';
    this.#become('starting');
    const release = await this.lock();
    if (!release) {
      this.#become('idle');
      throw otherTab;
    }
    try {
      await this.engine.run(() => job.begin());
    } catch (thrown) {
      release();
      this.#become('failed', toProblem(thrown));
      throw thrown;
    }
    this.finished = this.#loop(job).finally(release);
  }

  pause(): void {
    if (this.#wanted !== 'run') return;
    this.#wanted = 'pause';
    if (this.#state === 'running') void this.#leave();
  }

  /** Leaves the step in hand, which may take long. */
  async #leave(): Promise<void> {
    if ((await this.turns.hold()) && this.#wanted === 'pause') this.#become('paused');
  }

  resume(): void {
    if (this.#wanted !== 'pause') return;
    this.#wanted = 'run';
    this.turns.release();
    // A step that was left goes on; where none was, the loop says so itself.
    if (this.#state === 'paused') this.#become('running');
    this.#wake();
  }

  stop(): void {
    this.#wanted = 'stop';
    this.turns.release();
    this.#wake();
  }

  async #loop(job: Job): Promise<void> {
    try {
      for (;;) {
        if (this.#wanted === 'pause') {
          this.turns.release();
          await this.engine.run(() => job.keep?.());
          this.#become('paused');
          while (this.#wanted === 'pause') await new Promise<void>((wake) => (this.#wake = wake));
        }
        if (this.#wanted === 'stop') {
          this.#become('finishing');
          await this.engine.run(() => job.finish());
          return this.#become('done');
        }
        this.#become('running');
        const wasLast = await this.engine.run(() => job.step());
        // A step that had nothing more to leave is over.
        this.turns.release();
        if (wasLast) return this.#become('done');
        // Lets messages in, even where a step never left this task.
        await new Promise((resume) => setTimeout(resume, 0));
      }
    } catch (thrown) {
      this.#become('failed', toProblem(thrown));
    }
  }

  #become(state: RunState, problem: Problem | null = null): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#job?.become(state, problem);
  }
}
