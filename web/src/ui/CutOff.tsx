import { canAct, continueRun, isAtHand, isOn, nameOfRun, setAside } from '../actions/runs';
import { begunWords, wasCutOff } from '../runs';
import { busy, device, runs } from '../store';
import { Button, Icon } from './bits';

/** The latest run, where something cut it off: a reload, a crash, a laptop that was closed. */
export function CutOff() {
  const latest = runs.value?.[0];
  if (!latest || busy.value || device.value.state !== 'ready' || !wasCutOff(latest)) return null;
  const { checkpoint, config, about, base } = latest.summary;
  return (
    <div class="banner note" data-testid="cut-off" role="status">
      <Icon name="undo" />
      <div>
        <h2>A run was cut off, and is kept</h2>
        <p>
          {nameOfRun(latest)}, begun {begunWords(latest)}, was kept after step {checkpoint} of {String(config.max_steps)}. It goes on from there to the same end as if nothing had happened
          {isOn(latest) || isAtHand(latest) ? '.' : `, once ${about?.model.file || base} is loaded.`}
        </p>
        <div class="row">
          <Button look="main" icon="play" data-testid="cut-off-continue" disabled={!canAct.value} onClick={() => void continueRun(latest)}>
            Continue from step {checkpoint}
          </Button>
          <Button look="quiet" data-testid="cut-off-later" onClick={() => void setAside(latest)}>
            Not now
          </Button>
        </div>
      </div>
    </div>
  );
}
