import type { Event, Example, JudgeFunction, Problem, RunConfig, Session, Spill } from '../engine';
import type { Notice, RunState } from '../protocol';
import type { Job } from './runner';

/** What a run is made of. */
export interface Order {
  config: RunConfig;
  examples: Example[];
  evalExamples: Example[];
  spill?: Spill | undefined;
  judge?: JudgeFunction | undefined;
}

/** One run: the engine's steps and what they tell. */
export class Training implements Job {
  /** Milliseconds spent in steps. */
  #active = 0;

  constructor(
    private readonly session: Session,
    private readonly order: Order,
    private readonly say: (notice: Notice) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  async begin(): Promise<void> {
    const { config, examples, evalExamples, spill, judge } = this.order;
    const tuned = (done: number, all: number) => this.say({ notice: 'tune', done, all });
    const started = await this.session.startTraining(config, examples, evalExamples, tuned, spill, judge);
    this.say({ notice: 'events', events: [started], active: 0 });
  }

  async step(): Promise<boolean> {
    const last = await this.#timed(() => this.session.step());
    if (last?.event === 'error') throw { code: last.code, message: last.message, help: last.hint } satisfies Problem;
    return last?.event === 'done';
  }

  async finish(): Promise<void> {
    await this.#timed(() => this.session.finish());
  }

  become(state: RunState, problem: Problem | null): void {
    this.say({ notice: 'run', state, problem });
  }

  async #timed(work: () => Promise<Event[]>): Promise<Event | undefined> {
    const began = this.now();
    const events = await work();
    this.#active += this.now() - began;
    this.say({ notice: 'events', events, active: this.#active });
    return events.at(-1);
  }
}
