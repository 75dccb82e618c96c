import type { Event, Problem, RunTools, Session } from '../engine';
import type { Notice, RunState } from '../protocol';
import type { Job } from './runner';

/** What a run is made of. */
export interface Order {
  /** Begins it, or takes it up again; gives its events so far, and the id that it is kept under, if it is. */
  begin: (session: Session, tools: RunTools) => Promise<{ events: Event[]; keptAs: string | null }>;
  tools: RunTools;
  /** A checkpoint is written whenever so many steps are done, beside those that are due anyway; 0 for no more. */
  saveSteps: number;
}

/** A checkpoint is due after so many steps, or milliseconds in them, whichever comes first. */
const STEPS = 20;
const MINUTE = 60_000;
/** But where steps are fast, checkpoints take no more of the time than one part of so many. */
const SHARE = 10;

/** One run: the engine's steps, what they tell, and the checkpoints between them. */
export class Training implements Job {
  /** Milliseconds spent in steps. */
  #active = 0;
  #steps = 0;
  /** When the newest checkpoint was written, and how long that took. */
  #kept = { steps: 0, active: 0, took: 0 };
  #keepSoon = false;
  /** The id that the run is kept under, once it has begun, if it is. */
  keptAs: string | null = null;

  constructor(
    private readonly session: Session,
    private readonly order: Order,
    private readonly say: (notice: Notice) => void,
    /** Milliseconds of work: time in which it was held does not count. */
    private readonly now: () => number = () => performance.now(),
  ) {}

  async begin(): Promise<void> {
    const onTune = (done: number, all: number) => this.say({ notice: 'tune', done, all });
    const { events, keptAs } = await this.order.begin(this.session, { ...this.order.tools, onTune });
    this.keptAs = keptAs;
    this.say({ notice: 'events', events, active: 0 });
  }

  async step(): Promise<boolean> {
    const last = await this.#timed(() => this.session.step());
    if (last?.event === 'error') throw { code: last.code, message: last.message, help: last.hint } satisfies Problem;
    const done = last?.event === 'done';
    this.#steps += 1;
    if (!done && this.#isDue()) await this.keep();
    return done;
  }

  async finish(): Promise<void> {
    await this.#timed(() => this.session.finish());
  }

  /** Writes a checkpoint, where the run is kept and there is something new. */
  async keep(): Promise<void> {
    this.#keepSoon = false;
    if (this.keptAs === null || this.#steps === this.#kept.steps) return;
    const began = this.now();
    const events = await this.session.keepRun();
    this.#kept = { steps: this.#steps, active: this.#active, took: this.now() - began };
    this.say({ notice: 'events', events, active: this.#active });
  }

  /** Has a checkpoint written after the step that is going. */
  keepSoon(): void {
    this.#keepSoon = true;
  }

  become(state: RunState, problem: Problem | null): void {
    this.say({ notice: 'run', state, problem });
  }

  #isDue(): boolean {
    const { saveSteps } = this.order;
    if (this.#keepSoon || (saveSteps > 0 && this.#steps % saveSteps === 0)) return true;
    const since = this.#active - this.#kept.active;
    return since >= MINUTE || (this.#steps - this.#kept.steps >= STEPS && since >= SHARE * this.#kept.took);
  }

  async #timed(work: () => Promise<Event[]>): Promise<Event | undefined> {
    const began = this.now();
    const events = await work();
    this.#active += this.now() - began;
    this.say({ notice: 'events', events, active: this.#active });
    return events.at(-1);
  }
}
