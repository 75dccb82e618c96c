// Numbers as people read them.

const plain = new Intl.NumberFormat('en');

export const count = (n: number): string => plain.format(n);

export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  const units = ['kB', 'MB', 'GB'];
  let value = n / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function short(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)} B`;
  if (n >= 1e6) return `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)} M`;
  if (n >= 1e4) return `${Math.round(n / 1e3)} k`;
  return count(n);
}

export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}

const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' });

/** The time of day, of milliseconds since 1970; with the day, where that is not today. */
export const when = (at: number): string => (new Date(at).toDateString() === new Date().toDateString() ? clock.format(at) : moment(at));

const day = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' });

/** The day and the time, of milliseconds since 1970. */
export const moment = (at: number): string => day.format(at);

/** A loss; what is nothing but a sum's rounding is 0. */
export function loss(n: number): string {
  const size = Math.abs(n);
  if (size < 1e-9) return '0.000';
  return size >= 100 ? n.toFixed(1) : size >= 0.1 ? n.toFixed(3) : n.toPrecision(3);
}

export const rate = (n: number): string => (n === 0 ? '0' : n >= 0.01 ? String(Number(n.toPrecision(3))) : n.toExponential(1).replace('e-', 'e−'));

export const speed = (n: number): string => (n < 10 ? n.toFixed(1) : String(Math.round(n)));

/** Words that begin a sentence. */
export const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

/** What is wrong with a row, said without its place: the engine was given that row alone, as line 1. */
export const ofRow = (message: string): string => message.replace(/^(examples|prompts), line \d+: /, '');
