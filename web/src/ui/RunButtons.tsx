import { pause, resume, stop } from '../actions/train';
import type { RunState } from '../protocol';
import { isBusy } from '../run';
import { wanted } from '../store';
import { Button } from './bits';

interface Props {
  state: RunState;
  /** What the buttons are called in tests: `lab-start`, `pause`, … */
  testid: 'train' | 'lab';
  /** Whether it cannot start. */
  blocked: boolean;
  /** The element that says why. */
  describedby: string;
  start: string;
  onStart: () => void;
}

/** Start, pause, resume and stop, of a run or of the lab. */
export function RunButtons({ state, testid, blocked, describedby, start, onStart }: Props) {
  const id = (name: string) => (testid === 'train' ? name : `lab-${name}`);
  return (
    <div class="row">
      {!isBusy(state) && (
        <Button look="main" icon="play" data-testid={testid === 'train' ? 'train' : 'lab-start'} disabled={blocked} aria-describedby={describedby} onClick={onStart}>
          {start}
        </Button>
      )}
      {(state === 'starting' || state === 'running') && (
        <Button look="main" icon="pause" data-testid={id('pause')} disabled={wanted.value === 'stop'} waiting={state === 'starting' || wanted.value === 'pause'} onClick={() => void pause()}>
          {wanted.value === 'pause' ? 'Pausing…' : 'Pause'}
        </Button>
      )}
      {state === 'paused' && (
        <Button look="main" icon="play" data-testid={id('resume')} onClick={() => void resume()}>
          Resume
        </Button>
      )}
      {isBusy(state) && (
        <Button icon="stop" data-testid={id('stop')} disabled={state === 'starting'} waiting={state === 'finishing' || wanted.value === 'stop'} onClick={() => void stop()}>
          {wanted.value === 'stop' ? 'Stopping…' : 'Stop and keep'}
        </Button>
      )}
    </div>
  );
}
