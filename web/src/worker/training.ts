import type { Event, Example, Problem, RunConfig, Session, Spill } from '../engine';
import { toProblem, type Notice, type RunState } from '../protocol';
import type { Mutex } from './mutex';

/** Takes the right to train; resolves to its release, or to null when another tab has it. */
export type TrainingLock = () => Promise<(() => void) | null>;

export const otherTab: Problem = {
  code: 'other-tab',
  message: 'Another tab of Tunesmith is training.',
  help: 'Two runs would share one GPU and both would crawl. Stop or close the other one, then press Train here.',
};

type Wanted = 'run' | 'pause' | 'stop';

/** One run at a time: calls the engine's step in a loop, and looks for pause and stop between steps. */
export class Training {
  #state: RunState = 'idle';
  #wanted: Wanted = 'run';
  #wake: () => void = () => undefined;
  /** Resolves when the loop of the last run has ended. */
  finished: Promise<void> = Promise.resolve();

  constructor(
    private readonly session: Session,
    private readonly engine: Mutex,
    private readonly lock: TrainingLock,
    private readonly say: (notice: Notice) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get state(): RunState {
    return this.#state;
  }

  async start(config: RunConfig, examples: Example[], evalExamples: Example[], spill?: Spill): Promise<void> {
    if (['starting', 'running', 'paused', 'finishing'].includes(this.#state)) {
      throw { code: 'busy', message: 'A run is already going.', help: 'Stop it before starting another.' } satisfies Problem;
    }
    this.#wanted = 'run';
    this.#become('starting');
    const release = await this.lock();
    if (!release) {
      this.#become('idle');
      throw otherTab;
    }
    try {
      const tuned = (done: number, all: number) => this.say({ notice: 'tune', done, all });
      const started = await this.engine.run(() => this.session.startTraining(config, examples, evalExamples, tuned, spill));
      this.say({ notice: 'events', events: [started], active: 0 });
    } catch (thrown) {
      release();
      this.#become('failed', toProblem(thrown));
      throw thrown;
    }
    this.finished = this.#loop().finally(release);
  }

  pause(): void {
    if (this.#wanted === 'run') this.#wanted = 'pause';
  }

  resume(): void {
    if (this.#wanted === 'pause') this.#wanted = 'run';
    this.#wake();
  }

  stop(): void {
    this.#wanted = 'stop';
    this.#wake();
  }

  async #loop(): Promise<void> {
    let active = 0;
    const timed = async (job: () => Promise<Event[]>): Promise<Event | undefined> => {
      const events = await this.engine.run(async () => {
        const began = this.now();
        const made = await job();
        active += this.now() - began;
        return made;
      });
      this.say({ notice: 'events', events, active });
      return events.at(-1);
    };
    try {
      for (;;) {
        while (this.#wanted === 'pause') {
          this.#become('paused');
          await new Promise<void>((wake) => (this.#wake = wake));
        }
        if (this.#wanted === 'run') this.#become('running');
        const stopping = this.#wanted === 'stop';
        if (stopping) this.#become('finishing');
        const last = await timed(() => (stopping ? this.session.finish() : this.session.step()));
        if (last?.event === 'error') {
          return this.#become('failed', { code: last.code, message: last.message, help: last.hint });
        }
        if (stopping || last?.event === 'done') return this.#become('done');
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
    this.say({ notice: 'run', state, problem });
  }
}
