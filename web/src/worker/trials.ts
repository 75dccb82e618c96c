import type { Problem, RunConfig, Session } from '../engine';
import { toProblem, type Notice, type RunState, type TrialPlan } from '../protocol';
import type { Job } from './runner';

/** What a lab is made of. */
export interface LabOrder {
  /** How the rows are read, for every method alike. */
  config: RunConfig;
  trials: TrialPlan[];
  rows: Uint32Array;
  heldOut: Uint32Array;
}

/** A lab: several methods on the same examples, one after the other. One that fails does not end it. */
export class Trials implements Job {
  readonly #queue: TrialPlan[];
  #method: string | null = null;
  /** Milliseconds spent on the method. */
  #active = 0;

  constructor(
    private readonly session: Session,
    private readonly order: LabOrder,
    private readonly say: (notice: Notice) => void,
    /** Milliseconds of work: time in which it was held does not count. */
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#queue = [...order.trials];
  }

  async begin(): Promise<void> {
    const { config, rows, heldOut } = this.order;
    this.session.openLab(config, rows, heldOut);
  }

  async step(): Promise<boolean> {
    const method = this.#method;
    try {
      if (method === null) await this.#next();
      else await this.#advance(method);
    } catch (thrown) {
      const problem = toProblem(thrown);
      // A device or an engine that is gone fails the methods that are still to come, too.
      if (['device-lost', 'gpu', 'crashed'].includes(problem.code)) throw thrown;
      this.say({ notice: 'trialFailed', method: this.#method ?? '', problem });
      this.#method = null;
    }
    if (this.#method !== null || this.#queue.length) return false;
    this.session.closeLab();
    return true;
  }

  async finish(): Promise<void> {
    this.session.closeLab();
  }

  become(state: RunState, problem: Problem | null): void {
    this.say({ notice: 'lab', state, problem });
  }

  async #next(): Promise<void> {
    const plan = this.#queue.shift();
    if (!plan) return;
    this.#method = plan.method;
    this.#active = 0;
    this.say({ notice: 'trial', method: plan.method, progress: null, active: 0 });
    const tuned = (done: number, all: number) => this.say({ notice: 'tune', done, all });
    await this.#timed(() => this.session.beginTrial(plan.method, plan.config, tuned));
  }

  async #advance(method: string): Promise<void> {
    const progress = await this.#timed(() => this.session.advanceTrial());
    this.say({ notice: 'trial', method, progress, active: this.#active });
    if (progress.row) this.#method = null;
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const began = this.now();
    const made = await work();
    this.#active += this.now() - began;
    return made;
  }
}
